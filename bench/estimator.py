"""How fast the default slack pipeline is, and what it keeps of a container: one JSON line.

    python -m bench.estimator [--containers 1000] [--replay-containers 20] [--days 30]

`frame_ms`: CPU time of a frame of 1,000 production containers through the default predictor, a frame a second; the
median.  `replay_30d_s`: CPU time of 30 days of one-minute frames of 20 containers (an agent's production), with memory,
from a trace file to lines of JSON, as `serenity slack replay` does it, less the start of Python.
`bytes_per_container`: all memory that the predictor takes for 10,000 containers more, ids included, a container.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec
import numpy as np

from serenity.estimator.predictors.ahead import Ahead, AheadParameters
from serenity.estimator.slack.pipeline import SlackStages
from serenity.estimator.slack.replay import SlackReplay
from serenity.qos.frame import PRODUCTION, Container, Frame, Node
from serenity.qos.pipeline import read
from serenity.qos.trace import read_trace

_WARM_UP = 400  # Frames: by then the containers are old enough to be predicted.
_FRAMES = 200
_DAY_S = 86400


def frames(containers: int, every_s: float, seed: int = 1) -> Iterator[Frame]:
    """Endless frames of containers with a daily cycle and bursts; one in a thousand CPU values is missing."""
    luck = np.random.default_rng(seed)
    rows = tuple(Container(f"c{i}", PRODUCTION, f"job-{i}", 2.0, 2.0**31) for i in range(containers))
    node = Node(cpus=2.0 * containers, mem_bytes=2.0**31 * containers)
    usual, t = luck.gamma(2.0, 0.2, containers), 0.0
    while True:
        day = 1.0 + 0.3 * np.sin(2 * np.pi * t / _DAY_S)
        cpu = np.minimum(2.0, usual * day * luck.gamma(4.0, 0.25, containers))
        cpu[luck.random(containers) < 0.001] = np.nan
        yield Frame(t, rows, {"cpu": cpu, "rss_bytes": np.floor(usual * 5e8 * (1 + 0.1 * day))}, node)
        t += every_s


def frame_ms(containers: int) -> float:
    predictor, costs_ms = Ahead(AheadParameters()), []
    for number, frame in zip(range(_WARM_UP + _FRAMES), frames(containers, 1.0), strict=False):
        began_s = time.thread_time()
        predictor.step(frame)
        if number >= _WARM_UP:
            costs_ms.append((time.thread_time() - began_s) * 1e3)
    return round(statistics.median(costs_ms), 2)


def replay_s(containers: int, days: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.jsonl")
        with trace.open("wb") as file:
            _write_trace(file, containers, days * 1440)
        began_s = time.process_time()
        replay = SlackReplay(SlackStages.from_file(read()))
        for frame in read_trace(trace):
            msgspec.json.encode(replay.step(frame).estimate)
        return round(time.process_time() - began_s, 1)


def _write_trace(file: IO[bytes], containers: int, count: int) -> None:
    file.write(b'{"trace":1,"interval_s":60.0}\n')
    for number, frame in zip(range(count), frames(containers, 60.0), strict=False):
        line = frame.to_json()
        if number:
            del line["node"]
        for row in line["containers"]:
            if "cpu" in row:
                row["cpu"] = round(row["cpu"], 4)
        file.write(msgspec.json.encode(line if "node" in line else line | {"node": _node(frame)}) + b"\n")


def _node(frame: Frame) -> dict[str, float]:
    return {"cpus": frame.node.cpus, "mem_bytes": frame.node.mem_bytes}


def bytes_per_container() -> int:
    few, many = 1000, 11000
    return round((_traced(many) - _traced(few)) / (many - few))


def _traced(containers: int) -> int:
    """The memory that a predictor holds after a few frames, and ever after: it keeps no samples."""
    given = [frame for _, frame in zip(range(5), frames(containers, 600.0), strict=False)]
    tracemalloc.start()
    predictor = Ahead(AheadParameters())
    for frame in given:
        predictor.step(frame)
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--containers", type=int, default=1000)
    options.add_argument("--replay-containers", type=int, default=20)
    options.add_argument("--days", type=int, default=30)
    chosen = options.parse_args()
    result = {
        "frame_ms": frame_ms(chosen.containers),
        "replay_30d_s": replay_s(chosen.replay_containers, chosen.days),
        "bytes_per_container": bytes_per_container(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
