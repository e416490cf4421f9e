"""Nodes of other sizes from a folder of traces: containers of the same day are dealt out anew.

    python -m bench.regroup FOLDER OUT --machines 8 [--seed 1]

The traces of a day have names that differ after the last dash only (20110303-0.jsonl.gz), the same times, and
production of one core each, as slackbench's have.  OUT gets traces that its scorer reads.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serenity.qos.frame import PRODUCTION, Container, Floats, Frame, Node
from serenity.qos.trace import read_trace


@dataclass(frozen=True)
class Day:
    """`use` has shape (frames, containers), in cores; each container was allocated one core."""

    name: str
    t: Floats
    use: Floats


@dataclass(frozen=True)
class GroupedNode:
    name: str
    t: Floats
    use: Floats

    @property
    def cpus(self) -> float:
        return float(self.use.shape[1])

    def frames(self) -> Iterator[Frame]:
        rows = tuple(Container(f"vm{i}", PRODUCTION, f"vm{i}", 1.0, 0.0) for i in range(self.use.shape[1]))
        for t, use in zip(self.t, self.use, strict=True):
            yield Frame(float(t), rows, {"cpu": use}, Node(cpus=self.cpus))


def days(folder: Path) -> list[Day]:
    """Raises TraceError; ValueError: no traces in `folder`."""
    files = sorted(folder.glob("*.jsonl.gz"))
    if not files:
        raise ValueError(f"{folder} has no traces named DAY-NUMBER.jsonl.gz")
    found = []
    for name, of_day in itertools.groupby(files, key=lambda file: file.name.rpartition("-")[0]):
        read = [list(read_trace(file)) for file in of_day]
        use = np.concatenate([[frame.column("cpu") for frame in frames] for frames in read], axis=1)
        found.append(Day(name, np.array([frame.t for frame in read[0]]), use))
    return found


def grouped(day: Day, machines: int, seed: int) -> list[GroupedNode]:
    """As many nodes of `machines` containers as the day has containers for; those left over are left out."""
    dealt = np.random.default_rng(seed).permutation(day.use.shape[1])
    count = len(dealt) // machines
    return [
        GroupedNode(f"{day.name}-{machines}-{seed}-{i}", day.t, day.use[:, dealt[i * machines : (i + 1) * machines]])
        for i in range(count)
    ]


def write(node: GroupedNode, folder: Path) -> None:
    with gzip.open(folder / f"{node.name}.jsonl.gz", "wt") as file:
        header = {"trace": 1, "interval_s": float(node.t[1] - node.t[0]), "node": {"cpus": node.cpus}, "platform": ""}
        file.write(json.dumps(header) + "\n")
        for frame in node.frames():
            line = frame.to_json()
            file.write(json.dumps({"t": line["t"], "containers": line["containers"]}) + "\n")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--machines", type=int, required=True)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    for day in days(chosen.folder):
        for node in grouped(day, chosen.machines, chosen.seed):
            write(node, chosen.out)


if __name__ == "__main__":
    main()
