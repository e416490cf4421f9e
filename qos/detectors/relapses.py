"""Contentions that ended, and the jobs that caused them: as these press again, harm is likely."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from serenity.qos.evidence.mechanisms import MECHANISMS
from serenity.qos.evidence.pressure import Pressure
from serenity.qos.frame import Bools, Container, Floats
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
        rise = _by_job(pressure, pressure.rise(1, interval_s)[None])
        for each in self._ended.values():
            if _rose(each, rise, 1)[0]:
                each.pressed_at = t
        return [name for name, each in self._ended.items() if t - each.pressed_at <= _SHOWS_WITHIN_S]

    def weight(self, containers: Sequence[Container], pressure: Pressure, ages: Ints, interval_s: float) -> Floats:
        """In logs: 0 at a moment at which a job rose that harmed the container before by that mechanism, else -inf.

        Shape (mechanisms, ages, containers).
        """
        weight = np.full((len(MECHANISMS), len(ages), len(containers)), -np.inf)
        ended = [(i, self._ended[each.id]) for i, each in enumerate(containers) if each.id in self._ended]
        if ended:
            rises = np.array([pressure.rise(int(age), interval_s) for age in ages])
            by_job = _by_job(pressure, rises)
            for i, each in ended:
                weight[each.mechanism, _rose(each, by_job, len(ages)), i] = 0.0
        return weight


def _by_job(pressure: Pressure, rises: Floats) -> dict[str, Floats]:
    """The greatest rise of each job's tasks; (ages, resources).  `rises`: (ages, resources, rows)."""
    greatest: dict[str, Floats] = {}
    for row, container in enumerate(pressure.containers):
        rise = rises[:, :, row]
        before = greatest.get(container.job)
        greatest[container.job] = rise if before is None else np.maximum(before, rise)
    return greatest


def _rose(ended: _Ended, rises: Mapping[str, Floats], ages: int) -> Bools:
    """At each age, whether one of the jobs rose by a part of what did harm."""
    rose = np.zeros(ages, dtype=np.bool_)
    for job, harm in ended.jobs.items():
        if job in rises:
            rose |= rises[job][:, MECHANISMS[ended.mechanism].resource] >= _PRESSES * harm
    return rose
