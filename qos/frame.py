"""The frame: one sample of every container on the agent, as a struct of numpy arrays.

One row a container (of a best-effort executor: one row a task), one float64 column a
metric.  NaN means "not measured", and only that; every stage must let a NaN stay in its
own row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Json = dict[str, Any]
Role = Literal["production", "best_effort"]
Better = Literal["higher", "lower"]

PRODUCTION: Role = "production"
BEST_EFFORT: Role = "best_effort"


@dataclass(frozen=True, slots=True)
class Column:
    unit: str
    meaning: str


# Every column that a source may fill; a filter may add others, and documents them.
COLUMNS: Mapping[str, Column] = {
    "cpu": Column("cores", "CPU used"),
    "cycles": Column("1/s", "CPU cycles"),
    "instructions": Column("1/s", "instructions retired"),
    "llc_misses": Column("1/s", "last-level cache misses"),
    "stalls": Column("1/s", "CPU cycles in which nothing could be issued"),
    "llc_bytes": Column("bytes", "last-level cache occupied"),
    "mem_bw": Column("bytes/s", "memory bandwidth"),
    "run_delay": Column("s/s", "time that its threads waited to run, summed over threads"),
    "throttled": Column("s/s", "time throttled by a CFS quota"),
    "rss_bytes": Column("bytes", "resident memory"),
    "cache_bytes": Column("bytes", "what the machine counts as available of rss_bytes: caches"),
    "io_bytes": Column("bytes/s", "read from and written to disks"),
    "psi_cpu": Column("share of time", "some task waited for CPU"),
    "psi_memory": Column("share of time", "some task waited for memory"),
    "psi_io": Column("share of time", "some task waited for a disk"),
    "sli": Column("its own", "the application's own indicator"),
}


@dataclass(frozen=True, slots=True)
class Indicator:
    """What a production task's `sli` column means."""

    name: str
    unit: str = ""
    better: Better = "lower"
    objective: float | None = None  # What it must keep: at least this where higher is better, else at most.


@dataclass(frozen=True, slots=True)
class Container:
    """Who a row is.  `id` is the Mesos container id, or the task id of a best-effort task."""

    id: str
    role: Role
    job: str = ""
    cpus: float = 0.0  # Allocated.
    mem_bytes: float = 0.0  # Allocated.
    framework: str = ""
    executor: str = ""
    task: str = ""
    container: str = ""
    indicator: Indicator | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """The machine.  Capacities are NaN where they are not known."""

    cpus: float = math.nan
    mem_bytes: float = math.nan
    llc_bytes: float = math.nan
    mem_bw: float = math.nan


@dataclass(frozen=True)
class Frame:
    """One sample.  `t`: seconds since the epoch (of a trace: since its start).

    Every array in `columns` has shape (len(containers),).  `readings` are node-level values
    by name, such as ``psi_cpu``; a name that is missing was not measured.
    """

    t: float
    containers: tuple[Container, ...]
    columns: Mapping[str, Floats]
    node: Node = Node()
    readings: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.containers)

    def column(self, name: str) -> Floats:
        """The column, all NaN if nothing filled it."""
        found = self.columns.get(name)
        return found if found is not None else np.full(len(self), np.nan)

    @property
    def production(self) -> Bools:
        return _who(self.containers).production

    @property
    def ids(self) -> list[str]:
        return _who(self.containers).ids

    @property
    def allocated_cpus(self) -> Floats:
        return np.fromiter((c.cpus for c in self.containers), dtype=np.float64, count=len(self))

    @property
    def allocated_mem_bytes(self) -> Floats:
        return np.fromiter((c.mem_bytes for c in self.containers), dtype=np.float64, count=len(self))

    def index(self, container_id: str) -> int | None:
        return next((i for i, c in enumerate(self.containers) if c.id == container_id), None)

    def select(self, rows: Bools) -> Frame:
        """The rows where `rows` is true."""
        kept = tuple(itertools.compress(self.containers, rows.tolist()))
        return replace(self, containers=kept, columns={name: values[rows] for name, values in self.columns.items()})

    def with_column(self, name: str, values: Floats) -> Frame:
        """Raises ValueError when `values` has not one value a row."""
        if values.shape != (len(self),):
            raise ValueError(f"column {name} has shape {values.shape}; {len(self)} rows need one value each")
        return Frame(self.t, self.containers, {**self.columns, name: values}, self.node, self.readings)

    def to_json(self) -> Json:
        """A line of a frame trace (docs/traces.md); what was not measured is left out.  `trace` reads it."""
        rows = []
        for i, container in enumerate(self.containers):
            row: Json = {
                "id": container.id,
                "role": container.role,
                "job": container.job,
                "cpus": container.cpus,
                "mem_bytes": container.mem_bytes,
            }
            for name in ("framework", "executor", "task", "container"):
                if getattr(container, name):
                    row[name] = getattr(container, name)
            if container.indicator is not None:
                ind = container.indicator
                row["indicator"] = {"name": ind.name, "unit": ind.unit, "better": ind.better}
                if ind.objective is not None:
                    row["indicator"]["objective"] = ind.objective
            row.update((name, float(v[i])) for name, v in self.columns.items() if math.isfinite(v[i]))
            rows.append(row)
        return {"t": self.t, "containers": rows, "node": _finite(_fields(self.node)), "readings": dict(self.readings)}


@dataclass(frozen=True, slots=True)
class _Who:
    """What is the same as long as the same containers are there."""

    containers: tuple[Container, ...]
    ids: list[str]
    production: Bools


# The latest two, as sampled and as filtered; frames mostly share their containers with the frame before.
_latest: tuple[_Who, ...] = ()


def _who(containers: tuple[Container, ...]) -> _Who:
    global _latest
    for known in _latest:
        if known.containers is containers:
            return known
    roles = (each.role == PRODUCTION for each in containers)
    production = np.fromiter(roles, dtype=np.bool_, count=len(containers))
    production.flags.writeable = False
    new = _Who(containers, [each.id for each in containers], production)
    _latest = (new, *_latest[:1])
    return new


def _fields(node: Node) -> dict[str, float]:
    return {name: getattr(node, name) for name in Node.__slots__}


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}
