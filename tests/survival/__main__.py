"""Random sequences of kills, disconnections and restarts, with real processes.

    python -m tests.survival [--sequences 200] [--seed N] [--only N] [--mesos real]

Says each sequence that was not survived, with its seed and where its logs are; `--seed` and `--only` play one
again.  The exit code is 1 when there was any.  As `make survive` runs it: half an hour.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.survival.sequence import draw
from tests.survival.stack import play_all

_ON_ONE_STACK = 10


def main() -> int:
    options = _options()
    numbers = range(options.sequences) if options.only is None else [options.only]
    sequences = [draw(options.seed, number) for number in numbers]
    stacks = [sequences[begin : begin + _ON_ONE_STACK] for begin in range(0, len(sequences), _ON_ONE_STACK)]
    print(f"seed {options.seed}", flush=True)
    began_s = time.monotonic()
    # Each in the main thread of a process of its own, as whoever starts daemons must be.
    with ProcessPoolExecutor(options.at_once, multiprocessing.get_context("spawn")) as pool:
        done = list(pool.map(play_all, [options.mesos] * len(stacks), stacks))
    played = [each for stack, _ in done for each in stack]
    failures = sum(bool(each.mistakes) for each in played) + sum(left for _, left in done)
    result = {
        "seed": options.seed,
        "mesos": options.mesos,
        "sequences": len(played),
        "events": sum(len(each.sequence.events) for each in played),
        "attempts": sum(each.attempts for each in played),
        "lost_and_run_again": sum(each.lost for each in played),
        "failures": failures,
        "took_s": round(time.monotonic() - began_s),
    }
    print(json.dumps(result))
    return 1 if failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", type=int, help="the number of one sequence")
    parser.add_argument("--mesos", default="localmesos", choices=["localmesos", "real", "real-cgroups"])
    parser.add_argument("--at-once", type=int, default=2, help="stacks beside each other")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
