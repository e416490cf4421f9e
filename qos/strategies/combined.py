from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from serenity.qos.contention import Contention, Suspect
from serenity.qos.evidence import pressure
from serenity.qos.evidence.mechanisms import MECHANISMS
from serenity.qos.evidence.pressure import Pressure
from serenity.qos.frame import Container, Floats, Frame
from serenity.qos.rows import Places
from serenity.qos.sampling import Sampling
from serenity.qos.stages import NOT_NEGATIVE, POSITIVE, Parameters, parameter

_RESOURCE_OF = {each.cause: each.resource for each in MECHANISMS} | {"overload": pressure.CPU}
# Jobs whose history is kept.
_MOST_JOBS = 1000
# This share of all use is usual fluctuation: rises that are small beside it are no task's onset.
_FLUCTUATES = 0.2
# Correlation makes no suspect the first from further behind, so only these are compared.
_COMPARED = 8
_MOST_SAMPLES = 60  # Of a contention: earlier samples say little of which task keeps it up.
_MOST_SUSPECTS = 64  # More than are ever acted on, and than a kill record holds.


@dataclass(frozen=True)
class CombinedParameters(Parameters):
    mean_s: float = parameter(10.0, "s", "over which pressure is averaged, now and before the onset", POSITIVE)
    onset: float = parameter(1.0, "weight", "of the rise of pressure since the onset", NOT_NEGATIVE)
    present: float = parameter(0.2, "weight", "of the present share of the contended resource", NOT_NEGATIVE)
    correlation: float = parameter(
        0.2, "weight", "of how its pressure has gone with what the container suffers", NOT_NEGATIVE
    )
    history: float = parameter(
        0.2, "weight", "of the share of its job's earlier contentions that ended when it let go", NOT_NEGATIVE
    )


@dataclass(slots=True)
class _Accused:
    job: str
    container: str
    resource: int
    most: float  # Its greatest pressure while it was the first suspect.
    ranked_at: float


@dataclass(slots=True)
class _Course:
    """The severity of one protected container's contention, frame by frame, since it was noticed."""

    severities: deque[float]
    ranked_at: float


class Combined:
    """Ranks by what each best-effort row did to the contended resource when the contention began.

        onset    = share of all rises since then, each rise weighed by how new it is: rise / pressure now;
                   a fifth of all pressure now is added to the rises, as one that is no task's
        present  = share of all best-effort pressure on that resource now
        correlation = r · share of all movement: Pearson's r, where positive, of its pressure with the severity, which
                   was zero in the `mean_s` before the onset; movement is the standard deviation of pressure
        history  = c / (n + 1): a task of its job ranked first in n earlier contentions, and c ended as that let go
        score    = the weighted sum

    The resource is the cause's: cache occupancy, memory bandwidth, CPU, disk traffic, resident
    memory; CPU, as activity in general, where the cause does not tell.  A rise is measured
    against the lower of the means just before the onset and `mean_s` earlier, for a slow onset
    is noticed late.  Tasks that were busy all along fluctuate by many bytes, but little of that
    is new; hence the weight of a rise.  At the onset correlation says the same as the rise.  Later, when rows come, go,
    and are held down, it shows with which row's pressure the severity changes.  It is taken over the last 60 samples,
    for the eight rows that are first without it.  Suspect parts: onset, present, correlation, history.

    The weights: the rise is what changed.  Each of the others has a fifth of its weight, so that they decide between
    rows whose rises are about the same, and where no row's pressure rose.
    """

    name = "combined"
    reads = frozenset(pressure.RESOURCES)

    def __init__(self, parameters: CombinedParameters) -> None:
        self._parameters = parameters
        self.pressure = Pressure()
        self._sampling = Sampling()
        self._t = math.nan
        self._accused: dict[str, _Accused] = {}
        self._courses: dict[str, _Course] = {}  # By protected container.
        self._jobs: dict[str, tuple[float, float]] = {}  # Job → contentions confirmed, and all.
        # Of this frame: each row's history; rankings by resource and age of the onset, for many victims may share one.
        self._confirmed: Floats | None = None
        self._ranked: dict[tuple[int, int], list[Suspect]] = {}

    def observe(self, frame: Frame) -> None:
        self._sampling.observe(frame.t)
        last, self._t = self._t, frame.t
        self._forget()
        self.pressure.observe(frame)
        for name in [name for name, each in self._accused.items() if each.ranked_at < last]:
            self._learn(self._accused.pop(name))
        self._courses = {name: each for name, each in self._courses.items() if each.ranked_at >= last}

    def rank(self, contention: Contention, frame: Frame) -> list[Suspect]:
        resource = _RESOURCE_OF[contention.cause]
        age = max(1, self.pressure.since(contention.evidence.window_start))
        suspects = self._ranked.get((resource, age))
        if suspects is None:
            suspects = self._ranked[resource, age] = self._rank(resource, age)
        if suspects:
            suspects = self._compared(suspects, contention, resource, age)
            self._remember(contention.protected.id, suspects[0].container, resource)
        return suspects

    def _compared(self, suspects: list[Suspect], contention: Contention, resource: int, age: int) -> list[Suspect]:
        """Adds the correlation to the scores of the first suspects, and sorts these anew."""
        course = self._courses.setdefault(contention.protected.id, _Course(deque(maxlen=_MOST_SAMPLES), self._t))
        course.severities.append(contention.severity)
        course.ranked_at = self._t
        first, rest = suspects[:_COMPARED], suspects[_COMPARED:]
        rows = np.array([self.pressure.rows.places[each.container.id] for each in first], dtype=np.intp)
        correlations = self._parameters.correlation * self._correlations(course, rows, resource, age)
        first = [
            replace(each, score=each.score + more, parts={**each.parts, "correlation": more})
            for each, more in zip(first, correlations.tolist(), strict=True)
        ]
        return sorted(first, key=lambda each: -each.score) + rest

    def _correlations(self, course: _Course, rows: Places, resource: int, age: int) -> Floats:
        since = min(age, _MOST_SAMPLES)
        before = round(self._parameters.mean_s / self._sampling.interval_s) if since == age else 0
        pressed = self.pressure.latest(since + before, resource, rows)
        suffered = np.zeros(len(pressed))
        told = np.array(course.severities)[-since:]
        suffered[-since:] = told[0]  # From the onset until it was noticed.
        suffered[-len(told) :] = told
        pressed, suffered = pressed - pressed.mean(axis=0), suffered - suffered.mean()
        moved, varied = np.sqrt((pressed**2).sum(axis=0)), math.sqrt(float(suffered @ suffered))
        if not moved.sum() * varied > 0:
            return np.zeros(len(rows))
        # r = suffered @ pressed / (varied * moved), and the share of movement is moved / moved.sum(): `moved` cancels.
        together: Floats = np.maximum(suffered @ pressed / varied, 0.0) / moved.sum()
        return together

    def _rank(self, resource: int, age: int) -> list[Suspect]:
        rows = self.pressure.rows.ids
        if not rows:
            return []
        onset, present = self._parts(resource, age)
        weights = self._parameters
        onset, present = weights.onset * onset, weights.present * present
        if self._confirmed is None:
            self._confirmed = self._history()
        history = np.where(onset + present > 0.0, weights.history * self._confirmed, 0.0)
        score = onset + present + history
        order = np.argsort(-score, kind="stable")[:_MOST_SUSPECTS]
        parts = (each[order].tolist() for each in (score, onset, present, history))
        return [
            Suspect(
                self.pressure.containers[k],
                total,
                {"onset": begun, "present": now, "correlation": 0.0, "history": before},
            )
            for k, total, begun, now, before in zip(order.tolist(), *parts, strict=True)
        ]

    def absolve(self, protected_id: str) -> None:
        """The accused task was held down in vain: this contention counts as not confirmed for its job."""
        accused = self._accused.pop(protected_id, None)
        if accused is not None:
            self._count(accused.job, confirmed=False)

    def _parts(self, resource: int, age: int) -> tuple[Floats, Floats]:
        span = max(1, round(self._parameters.mean_s / self._sampling.interval_s))
        now = self.pressure.mean(0, min(age, span), resource)
        near = self.pressure.mean(age, age + span, resource)
        older = self.pressure.mean(age + span, age + 3 * span, resource) if len(self.pressure) > age + span else near
        rise = np.maximum(now - np.minimum(near, older), 0.0)
        new = rise * rise / np.maximum(now, 1e-12)
        return new / max(new.sum() + _FLUCTUATES * now.sum(), 1e-12), now / max(now.sum(), 1e-12)

    def _history(self) -> Floats:
        rows = self.pressure.containers
        if not self._jobs:
            return np.zeros(len(rows))
        known = (self._jobs.get(each.job, (0.0, 0.0)) for each in rows)
        return np.array([confirmed / (contentions + 1.0) for confirmed, contentions in known])

    def _remember(self, protected: str, top: Container, resource: int) -> None:
        use = self._use(top.id, resource)
        known = self._accused.get(protected)
        if known is None or known.container != top.id or known.resource != resource:
            known = self._accused[protected] = _Accused(top.job, top.id, resource, use, self._t)
        known.most, known.ranked_at = max(known.most, use), self._t

    def _learn(self, accused: _Accused) -> None:
        """The contention is over: did it end as the accused let go?"""
        self._count(accused.job, self._use(accused.container, accused.resource) < 0.5 * accused.most)

    def _count(self, job: str, confirmed: bool) -> None:
        before, contentions = self._jobs.pop(job, (0.0, 0.0))
        self._jobs[job] = (before + confirmed, contentions + 1.0)
        self._forget()
        while len(self._jobs) > _MOST_JOBS:  # Drops the job that was accused the longest ago.
            del self._jobs[next(iter(self._jobs))]

    def _forget(self) -> None:
        """Drops the frame's rankings, so that they are made anew."""
        self._confirmed = None
        self._ranked.clear()

    def _use(self, name: str, resource: int) -> float:
        place = self.pressure.rows.places.get(name)
        return 0.0 if place is None else float(self.pressure.now[resource, place])
