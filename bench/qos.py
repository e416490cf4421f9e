"""How fast the default pipeline is, and that it does not grow: one JSON line.

    python -m bench.qos [--containers 1000] [--seconds 20] [--frames 100000]

`replay_frames_per_s`: frames of a trace, from lines of JSON to decisions, on one core; the
lines are in memory, and `gunzip_frames_per_s` says what reading them gzipped would cost
beside.  `live_tick_ms_*`: see bench.qos_tick; null where it was not measured.
`rss_growth_bytes`: between a tenth and all of `--frames` frames with containers that come and go.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench import qos_tick
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container, Frame, Node
from serenity.qos.pipeline import Pipeline
from serenity.qos.replay import Replay
from serenity.qos.trace import FrameDecoder

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


def frames(containers: int, *, renew_every: int = 0, seed: int = 1) -> Iterator[Frame]:
    """An endless node, a third of it production; every `renew_every` frames one container is replaced."""
    luck = np.random.default_rng(seed)
    sizes = np.array([size for size, _ in COLUMNS.values()])[:, None]
    spreads = np.array([spread for _, spread in COLUMNS.values()])[:, None]
    usual = sizes * np.exp(luck.normal(0.0, 0.5, (len(COLUMNS), containers)))
    there = [_container(place, place) for place in range(containers)]
    t = 0
    while True:
        if renew_every and t % renew_every == renew_every - 1:
            place = int(luck.integers(containers))
            there[place] = _container(place, containers + t)
        values = usual * np.exp(luck.normal(0.0, 1.0, usual.shape) * spreads)
        values[:, luck.random(containers) < 0.005] = np.nan
        yield Frame(float(t), tuple(there), dict(zip(COLUMNS, values, strict=True)), NODE)
        t += 1


def _container(place: int, number: int) -> Container:
    role = BEST_EFFORT if place % 3 else PRODUCTION
    return Container(f"{role}-{number}", role, f"job-{place}", 2.0, 2.0**31)


def replay_speed(containers: int, seconds: float) -> dict[str, float]:
    lines = []
    for frame in frames(containers):
        line = frame.to_json()
        line["containers"] = [
            {name: float(f"{v:.6g}") if isinstance(v, float) else v for name, v in row.items()}
            for row in line["containers"]
        ]
        lines.append(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        if len(lines) == 200:
            break
    decoder, replay = FrameDecoder(), Replay(Pipeline.load())
    done, parsed_s, stepped_s = 0, 0.0, 0.0
    began_s = time.process_time()
    while time.process_time() - began_s < seconds:
        before_s = time.process_time()
        frame = decoder.decode(lines[done % len(lines)])
        parsed_s += time.process_time() - before_s
        object.__setattr__(frame, "t", float(done))  # The lines repeat, and time goes on.
        before_s = time.process_time()
        replay.step(frame)
        stepped_s += time.process_time() - before_s
        done += 1
    zipped = gzip.compress(b"".join(lines), compresslevel=3)
    before_s = time.process_time()
    gzip.decompress(zipped)
    return {
        "replay_frames_per_s": round(done / (parsed_s + stepped_s), 1),
        "parse_frames_per_s": round(done / parsed_s, 1),
        "pipeline_frames_per_s": round(done / stepped_s, 1),
        "gunzip_frames_per_s": round(len(lines) / (time.process_time() - before_s), 1),
    }


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
    options.add_argument("--containers", type=int, default=1000)
    options.add_argument("--seconds", type=float, default=20.0, help="CPU time for the replay")
    options.add_argument("--frames", type=int, default=100_000, help="how many for the growth; 0: leave it out")
    chosen = options.parse_args()
    result: dict[str, float | int | None] = dict(replay_speed(chosen.containers, chosen.seconds))
    live = qos_tick.measure()
    result |= {name: live[name] for name in ("live_tick_ms_p50", "live_tick_ms_p99")}
    result["rss_growth_bytes"] = rss_growth_bytes(chosen.frames) if chosen.frames else None
    print(json.dumps(result))


if __name__ == "__main__":
    main()
