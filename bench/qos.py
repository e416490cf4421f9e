"""How fast the default pipeline is, and that it does not grow: one JSON line.

    python -m bench.qos [--containers 1000] [--replay-frames 600] [--growth-frames 100000] [--parts]

All times are CPU time, so that they are those of one core, however busy the machine.

`replay_frames_per_s`: of a trace file with so many containers, from opening it to the decisions as
JSON, as `serenity qos replay` does, less the start of Python.  The median of three runs.  The file is
not gzipped: `--parts` says what it is with gzip, for parsing alone, and without parsing.
`live_tick_ms_*`: of sampling 100 containers in real cgroups, with all sources that the machine
has, and of the pipeline over that sample (bench.qos_tick); null where no cgroup can be made.
`rss_growth_bytes`: between a tenth and all of the growth frames, in which 12 containers come and
go: every twentieth frame one is replaced by another; null without such frames.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

from bench import qos_tick
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container, Frame, Node
from serenity.qos.pipeline import Pipeline
from serenity.qos.replay import Replay
from serenity.qos.trace import read_trace

NODE = Node(cpus=512.0, mem_bytes=2.0**41, llc_bytes=2.0**29, mem_bw=4e11)
# Each column's usual size, and how much it varies from second to second, in logs.
COLUMNS = {
    "cpu": (1.0, 0.05),
    "cycles": (3e9, 0.05),
    "instructions": (2e9, 0.05),
    "llc_misses": (4e6, 0.1),
    "llc_bytes": (1e6, 0.1),
    "mem_bw": (3e8, 0.1),
    "run_delay": (0.01, 0.5),
    "throttled": (1e-4, 0.5),
    "rss_bytes": (1e9, 0.001),
    "io_bytes": (1e6, 0.4),
    "psi_io": (0.01, 0.5),
    "psi_memory": (0.002, 0.5),
    "sli": (5.0, 0.05),
}
_RUNS = 3


def frames(containers: int, *, renew_every: int = 0, seed: int = 1) -> Iterator[Frame]:
    """Endless frames of containers, a third of them production; every `renew_every` frames one is replaced."""
    luck = np.random.default_rng(seed)
    sizes = np.array([size for size, _ in COLUMNS.values()])[:, None]
    spreads = np.array([spread for _, spread in COLUMNS.values()])[:, None]
    usual = sizes * np.exp(luck.normal(0.0, 0.5, (len(COLUMNS), containers)))
    there = tuple(_container(place, place) for place in range(containers))
    t = 0
    while True:
        if renew_every and t % renew_every == renew_every - 1:
            place = int(luck.integers(containers))
            there = (*there[:place], _container(place, containers + t), *there[place + 1 :])
        values = usual * np.exp(luck.normal(0.0, 1.0, usual.shape) * spreads)
        values[:, luck.random(containers) < 0.005] = np.nan
        yield Frame(float(t), there, dict(zip(COLUMNS, values, strict=True)), NODE)
        t += 1


def _container(place: int, number: int) -> Container:
    role = BEST_EFFORT if place % 3 else PRODUCTION
    return Container(f"{role}-{number}", role, f"job-{place}", 2.0, 2.0**31)


def replay_speed(containers: int, count: int, *, parts: bool = False) -> dict[str, float]:
    """Frames per second of CPU time."""
    reads = Pipeline.load().reads
    with tempfile.TemporaryDirectory() as folder:
        plain, zipped = Path(folder, "trace.jsonl"), Path(folder, "trace.jsonl.gz")
        with plain.open("wb") as file:
            _write_trace(file, containers, count)
        found = {"replay_frames_per_s": _speed(lambda: _replay(read_trace(plain, reads)))}
        if parts:
            zipped.write_bytes(gzip.compress(plain.read_bytes(), compresslevel=6))
            found["zipped_frames_per_s"] = _speed(lambda: _replay(read_trace(zipped, reads)))
            found["parse_frames_per_s"] = _speed(lambda: sum(1 for _ in read_trace(plain, reads)))
            parsed = list(read_trace(plain, reads))
            found["pipeline_frames_per_s"] = _speed(lambda: _replay(parsed))
    return found


def _write_trace(file: IO[bytes], containers: int, count: int) -> None:
    """Six digits a value, as in traces of qosbench's kind."""
    node = {name: getattr(NODE, name) for name in Node.__slots__}
    file.write(json.dumps({"trace": 1, "interval_s": 1.0, "node": node}).encode() + b"\n")
    for _, frame in zip(range(count), frames(containers), strict=False):
        line = frame.to_json()
        del line["node"]
        for row in line["containers"]:
            row.update((name, float(f"{row[name]:.6g}")) for name in COLUMNS if name in row)
        file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")


def _replay(trace: Iterable[Frame]) -> int:
    replay, count = Replay(Pipeline.load()), 0
    for frame in trace:
        count += 1
        for decision in replay.step(frame):
            msgspec.json.encode(decision)
    return count


def _speed(run: Callable[[], int]) -> float:
    speeds = []
    for _ in range(_RUNS):
        began_s = time.process_time()
        speeds.append(run() / (time.process_time() - began_s))
    return round(statistics.median(speeds), 1)


def rss_growth_bytes(count: int, containers: int = 12) -> int:
    pipeline, early = Pipeline.load(), 0
    for number, frame in enumerate(frames(containers, renew_every=20)):
        pipeline.step(frame)
        if number == count // 10:
            early = _rss_bytes()
        if number >= count:
            break
    return _rss_bytes() - early


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--containers", type=int, default=1000, help="in the replay")
    options.add_argument("--replay-frames", type=int, default=600, help="in the trace that is replayed")
    options.add_argument("--growth-frames", type=int, default=100_000, help="0 leaves the growth out")
    options.add_argument("--parts", action="store_true", help="say what the parts of a replay take")
    chosen = options.parse_args()
    result: dict[str, float | int | None] = {}
    grown_bytes = rss_growth_bytes(chosen.growth_frames) if chosen.growth_frames else None
    result |= replay_speed(chosen.containers, chosen.replay_frames, parts=chosen.parts)
    live = qos_tick.measure()
    result |= {name: live[name] for name in ("live_tick_ms_p50", "live_tick_ms_p99")}
    result["rss_growth_bytes"] = grown_bytes
    print(json.dumps(result))


if __name__ == "__main__":
    main()
