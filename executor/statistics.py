"""What each job on the agent does, minute by minute, for the framework (wire/messages/statistics.py).  Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from serenity.qos.frame import PRODUCTION, Container, Floats, Frame
from serenity.qos.rows import Rows, moved
from serenity.wire.messages.statistics import MOST_JOBS, Cpi, JobStatistics, Slo, Statistics

_PERIOD_S = 60.0
# A frame speaks for the time since the one before; after a longer gap nobody knows.
_MOST_GAP_S = 5.0
# Below this use counters count too few events to be trusted (as qos/default.toml has it).
_LEAST_CORES = 0.25


@dataclass
class _Sums:
    """Over the period; shapes (rows,).  Seconds in which a value was known, and the value times those."""

    cpu_s: Floats = field(default_factory=lambda: np.zeros(0))
    known_s: Floats = field(default_factory=lambda: np.zeros(0))
    cycles: Floats = field(default_factory=lambda: np.zeros(0))
    instructions: Floats = field(default_factory=lambda: np.zeros(0))
    sli: Floats = field(default_factory=lambda: np.zeros(0))  # The last value that was known.
    measured_s: Floats = field(default_factory=lambda: np.zeros(0))
    met_s: Floats = field(default_factory=lambda: np.zeros(0))


class JobsOnAgent:
    """`observe` at every frame gives the statistics of the period that it ends, or None.

    Containers of one job and framework count together, each with the part of the period for which
    it was there.  Of a container that has left before the end nothing is told.
    """

    def __init__(self, cpu_type: str, period_s: float = _PERIOD_S) -> None:
        self._cpu_type = cpu_type
        self._period_s = period_s
        self._rows = Rows()
        self._containers: tuple[Container, ...] = ()
        self._sums = _Sums()
        self._began = math.nan
        self._last_t = math.nan

    def observe(self, frame: Frame) -> Statistics | None:
        if not frame.t > self._last_t:  # The first one; or the clock was set back.
            self._begin(frame)
            return None
        told = None
        if frame.t - self._began >= self._period_s:
            told = self._told()
            self._begin(frame)
        if frame.containers is not self._containers:
            self._follow(frame)
        self._add(frame, min(frame.t - self._last_t, _MOST_GAP_S))
        self._last_t = frame.t
        return told

    def _begin(self, frame: Frame) -> None:
        self._began = self._last_t = frame.t
        self._rows, self._containers, self._sums = Rows(), (), _Sums()
        self._follow(frame)

    def _follow(self, frame: Frame) -> None:
        self._containers = frame.containers
        places = self._rows.moves(frame.ids)
        if places is not None:
            for name, values in vars(self._sums).items():
                setattr(self._sums, name, moved(values, places, math.nan if name == "sli" else 0.0))

    def _add(self, frame: Frame, dt_s: float) -> None:
        sums = self._sums
        cpu = frame.column("cpu")
        _accumulate(sums.cpu_s, cpu, dt_s)
        sums.known_s += np.where(np.isfinite(cpu), dt_s, 0.0)
        cycles, instructions = frame.column("cycles"), frame.column("instructions")
        both = np.isfinite(cycles) & np.isfinite(instructions)
        _accumulate(sums.cycles, np.where(both, cycles, math.nan), dt_s)
        _accumulate(sums.instructions, np.where(both, instructions, math.nan), dt_s)
        sli = frame.column("sli")
        known = np.isfinite(sli)
        np.copyto(sums.sli, sli, where=known)
        sums.measured_s += dt_s * known
        for i in np.flatnonzero(known):
            meaning = frame.containers[i].indicator
            if meaning is not None and meaning.objective is not None:
                better = sli[i] >= meaning.objective if meaning.better == "higher" else sli[i] <= meaning.objective
                sums.met_s[i] += dt_s * better

    def _told(self) -> Statistics:
        def key(i: int) -> tuple[str, str, str]:
            each = self._containers[i]
            return each.role, each.framework, each.job

        order = sorted(range(len(self._containers)), key=key)
        jobs = [self._job(list(rows)) for _, rows in groupby(order, key)]
        jobs.sort(key=lambda each: (each.slo is None or each.slo.objective is None, -each.cpus))
        seconds = self._last_t - self._began
        return Statistics(at=self._last_t, seconds=seconds, cpu_type=self._cpu_type, jobs=tuple(jobs[:MOST_JOBS]))

    def _job(self, rows: list[int]) -> JobStatistics:
        first, sums = self._containers[rows[0]], self._sums
        return JobStatistics(
            role=first.role,
            framework=first.framework,
            job=first.job,
            containers=len(rows),
            cpus=round(float(sums.cpu_s[rows].sum() / max(self._last_t - self._began, 1e-9)), 4),
            cpi=_cpi(list(self._cpis(rows))),
            slo=self._slo(rows) if first.role == PRODUCTION else None,
        )

    def _cpis(self, rows: list[int]) -> Iterator[float]:
        sums = self._sums
        for i in rows:
            if sums.instructions[i] > 0 and sums.cpu_s[i] >= _LEAST_CORES * sums.known_s[i]:
                yield float(sums.cycles[i] / sums.instructions[i])

    def _slo(self, rows: list[int]) -> Slo | None:
        """Of the containers that have the same indicator as the first container that has any."""
        told = [i for i in rows if self._containers[i].indicator is not None and self._sums.measured_s[i] > 0]
        if not told:
            return None
        meaning = self._containers[told[0]].indicator
        assert meaning is not None
        alike = [i for i in told if self._containers[i].indicator == meaning]
        values = self._sums.sli[alike]
        return Slo(
            indicator=meaning.name,
            unit=meaning.unit,
            better=meaning.better,
            now=float(values.min() if meaning.better == "higher" else values.max()),
            measured_s=round(float(self._sums.measured_s[alike].sum()), 3),
            objective=meaning.objective,
            met_s=round(float(self._sums.met_s[alike].sum()), 3),
        )


def _accumulate(total: Floats, rate: Floats, dt_s: float) -> None:
    total += np.where(np.isfinite(rate), rate * dt_s, 0.0)


def _cpi(samples: list[float]) -> Cpi | None:
    if not samples:
        return None
    mean = sum(samples) / len(samples)
    variance = sum((each - mean) ** 2 for each in samples) / len(samples)
    return Cpi(samples=float(len(samples)), mean=round(mean, 6), variance=round(variance, 9))
