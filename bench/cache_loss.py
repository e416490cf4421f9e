"""How often the task that takes the cache is named, whatever its victim loses and however that hurts: one JSON line.

    python -m bench.cache_loss [--seeds 2]

For ten minutes a service and two best-effort tasks run quietly.  Then one task takes a third of the
cache, and the service needs 10, 20 or 50 % longer, has 1.2, 2 or 4 times as many more misses as that,
and keeps 90, 70 or 40 % of what it had in the cache: how these go together is each program's own.  Counted
are those of all combinations and seeds in which the default pipeline names that task, with cause ``llc``,
within ten seconds.
"""

from __future__ import annotations

import argparse
import itertools
import json

import numpy as np

from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container, Frame, Node
from serenity.qos.pipeline import Pipeline

NODE = Node(cpus=16.0, llc_bytes=3e7, mem_bw=5e10, mem_bytes=64e9)
SLOWDOWNS, MORE_MISSES, KEPT = (0.1, 0.2, 0.5), (1.2, 2.0, 4.0), (0.9, 0.7, 0.4)
_QUIET_S, _WITHIN_S = 600, 10
_ROWS = (
    Container("web", PRODUCTION, "web", 4.0, 4e9),
    Container("hog", BEST_EFFORT, "hog", 2.0, 4e9),
    Container("other", BEST_EFFORT, "other", 2.0, 4e9),
)
_NAN = float("nan")


def is_named(slowdown: float, more_misses: float, kept: float, seed: int) -> bool:
    luck, pipeline = np.random.default_rng(seed), Pipeline.load()

    def noisy(usual: float, spread: float) -> float:
        return usual * float(luck.lognormal(0.0, spread))

    for t in range(_QUIET_S + _WITHIN_S + 1):
        harm = t >= _QUIET_S
        instructions = noisy(4e9, 0.05)
        cycles = instructions * noisy(1.5 * (1.0 + slowdown * harm), 0.03)
        misses = instructions * noisy(0.002 * (1.0 + more_misses * slowdown * harm), 0.05)
        cache = noisy(5e6 * (kept if harm else 1.0), 0.05), noisy(1e7 if harm else 1e6, 0.1), noisy(2e6, 0.2)
        columns = {
            "cpu": np.array([noisy(2.0, 0.02), noisy(2.0, 0.05), noisy(2.0, 0.1)]),
            "cycles": np.array([cycles, _NAN, _NAN]),
            "instructions": np.array([instructions, _NAN, _NAN]),
            "llc_misses": np.array([misses, _NAN, _NAN]),
            "llc_bytes": np.array(cache),
            "run_delay": np.array([noisy(0.02, 0.3), _NAN, _NAN]),
        }
        found = pipeline.step(Frame(float(t), _ROWS, columns, NODE))
        if found:
            first = found[0]
            return harm and (first.contention.cause, first.suspects[0].container.id) == ("llc", "hog")
    return False


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=2)
    seeds = range(1, options.parse_args().seeds + 1)
    cases = list(itertools.product(SLOWDOWNS, MORE_MISSES, KEPT, seeds))
    print(json.dumps({"cases": len(cases), "named": sum(is_named(*case) for case in cases)}))


if __name__ == "__main__":
    main()
