"""Contentions that ended, and the jobs that caused them: as these press again, harm is likely."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serenity.qos.evidence.mechanisms import MECHANISMS
from serenity.qos.evidence.pressure import Pressure
from serenity.qos.frame import Container, Floats
from serenity.qos.rows import Places as Ints

# Of the rise that did harm: less is a wiggle of a task that is busy, and cannot do much of that harm.
_PRESSES = 0.25
# A contention that builds up shows this long after the rise, or never.
_SHOWS_WITHIN_S = 60.0


@dataclass
class _Ended:
    mechanism: int
    jobs: Mapping[str, float]  # By how much each job had risen at the onset.
    at: float
    pressed_at: float = -np.inf  # When one of the jobs last rose.


class Relapses:
    """The last contention of each container, for `memory_s` after its end."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self._ended: dict[str, _Ended] = {}
        self._containers: Sequence[Container] = ()
        self._rows: dict[str, Ints] = {}  # Each job's, while the containers stay the same.

    def note(self, name: str, mechanism: int, jobs: Mapping[str, float], t: float) -> None:
        """A contention of that container is over."""
        if jobs:
            self._ended[name] = _Ended(mechanism, jobs, t)

    def forget(self, name: str) -> None:
        self._ended.pop(name, None)

    def keep(self, names: Collection[str]) -> None:
        self._ended = {name: each for name, each in self._ended.items() if name in names}

    def observe(self, pressure: Pressure, t: float, interval_s: float) -> list[str]:
        """After every `pressure.observe`; returns the containers for which a relapse is possible now."""
        if not self._ended:
            return []
        self._ended = {name: each for name, each in self._ended.items() if t - each.at <= self._memory_s}
        rises = self._by_job(pressure, pressure.rise(1, interval_s)[None])
        newest = {job: rise[0].tolist() for job, rise in rises.items()}
        for each in self._ended.values():
            resource = MECHANISMS[each.mechanism].resource
            if any(job in newest and newest[job][resource] >= _PRESSES * harm for job, harm in each.jobs.items()):
                each.pressed_at = t
        return [name for name, each in self._ended.items() if t - each.pressed_at <= _SHOWS_WITHIN_S]

    def weight(self, containers: Sequence[Container], pressure: Pressure, ages: Ints, interval_s: float) -> Floats:
        """In logs: 0 at a moment at which a job rose that harmed the container before by that mechanism, else -inf.

        Shape (mechanisms, ages, containers).
        """
        weight = np.full((len(MECHANISMS), len(ages), len(containers)), -np.inf)
        ended = [(i, self._ended[each.id]) for i, each in enumerate(containers) if each.id in self._ended]
        if ended:
            rises = self._by_job(pressure, np.array([pressure.rise(int(age), interval_s) for age in ages]))
            for i, each in ended:
                resource = MECHANISMS[each.mechanism].resource
                for job in each.jobs.keys() & rises.keys():
                    weight[each.mechanism, rises[job][:, resource] >= _PRESSES * each.jobs[job], i] = 0.0
        return weight

    def _by_job(self, pressure: Pressure, rises: Floats) -> dict[str, Floats]:
        """The greatest rise of any task of each job that did harm; (ages, resources).  `rises`: (…, …, rows)."""
        if pressure.containers is not self._containers:
            self._containers = pressure.containers
            rows: dict[str, list[int]] = {}
            for row, container in enumerate(pressure.containers):
                rows.setdefault(container.job, []).append(row)
            self._rows = {job: np.array(each, dtype=np.intp) for job, each in rows.items()}
        jobs = {job for each in self._ended.values() for job in each.jobs} & self._rows.keys()
        return {job: rises[:, :, self._rows[job]].max(axis=2) for job in jobs}
