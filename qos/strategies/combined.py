from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from serenity.qos import pressure
from serenity.qos.contention import Contention, Suspect
from serenity.qos.frame import Container, Floats, Frame
from serenity.qos.mechanisms import MECHANISMS
from serenity.qos.pressure import Pressure
from serenity.qos.stages import parameter

_RESOURCE_OF = {each.cause: each.resource for each in MECHANISMS} | {"overload": pressure.CPU}
# Jobs whose history is kept.
_MOST_JOBS = 1000
# So much of all use is usual fluctuation: rises that are small beside it are nobody's onset.
_FLUCTUATES = 0.2
_MOST_SUSPECTS = 64  # More than anybody will act on, and than a kill record holds.


@dataclass(frozen=True)
class CombinedParameters:
    mean_s: float = parameter(10.0, "s", "over which pressure is averaged, now and before the onset")
    onset: float = parameter(1.0, "weight", "of the rise of pressure since the onset")
    present: float = parameter(0.2, "weight", "of the present share of the contended resource")
    history: float = parameter(0.2, "weight", "of the share of its job's earlier contentions that ended when it let go")

    def __post_init__(self) -> None:
        if not self.mean_s > 0:
            raise ValueError(f"mean_s = {self.mean_s}; it must be greater than 0")
        if min(self.onset, self.present, self.history) < 0:
            raise ValueError("onset, present and history are weights, and not negative")


@dataclass(slots=True)
class _Accused:
    job: str
    container: str
    resource: int
    most: float  # Its pressure at most, since.
    ranked_at: float


class Combined:
    """Ranks by what each best-effort row did to the contended resource when the contention began.

        onset    = share of all rises since then, each rise weighed by how new it is: rise / pressure now;
                   a fifth of all pressure now counts as a rise of nobody's
        present  = share of all best-effort pressure on that resource now
        history  = c / (n + 1): in c of its job's n earlier contentions it was first, and they ended as it let go
        score    = the weighted sum

    The resource is the cause's: cache occupancy, memory bandwidth, CPU, disk traffic, resident
    memory; CPU, as activity in general, where the cause does not tell.  A rise is measured
    against the lower of the means just before the onset and `mean_s` earlier, for the onset is
    noticed late where it was slow.  Fluctuation of who was busy all along is large in bytes and
    little of it is new; hence the weight.  Suspect parts: onset, present, history.
    """

    name = "combined"

    def __init__(self, parameters: CombinedParameters) -> None:
        self._parameters = parameters
        self._pressure = Pressure()
        self._intervals: deque[float] = deque(maxlen=15)
        self._t = math.nan
        self._accused: dict[str, _Accused] = {}
        self._jobs: dict[str, tuple[float, float]] = {}  # Job: confirmed, all.

    def observe(self, frame: Frame) -> None:
        if frame.t > self._t:
            self._intervals.append(frame.t - self._t)
        last, self._t = self._t, frame.t
        self._pressure.observe(frame)
        for name in [name for name, each in self._accused.items() if each.ranked_at < last]:
            self._learn(self._accused.pop(name))

    def rank(self, contention: Contention, frame: Frame) -> list[Suspect]:
        rows = self._pressure.rows.ids
        if not rows:
            return []
        resource = _RESOURCE_OF[contention.cause]
        onset, present = self._parts(resource, contention.evidence.window_start)
        weights = self._parameters
        onset, present = weights.onset * onset, weights.present * present
        history = np.zeros(len(rows))
        if self._jobs:
            history = weights.history * self._confirmed([each.job for each in self._pressure.containers])
            history[onset + present <= 0.0] = 0.0
        score = onset + present + history
        suspects = [
            Suspect(
                self._pressure.containers[k],
                float(score[k]),
                {"onset": float(onset[k]), "present": float(present[k]), "history": float(history[k])},
            )
            for k in np.argsort(-score, kind="stable")[:_MOST_SUSPECTS]
        ]
        if suspects:
            self._remember(contention.protected.id, suspects[0].container, resource)
        return suspects

    def _parts(self, resource: int, since: float) -> tuple[Floats, Floats]:
        interval_s = float(np.median(self._intervals)) if self._intervals else 1.0
        age = max(1, self._pressure.since(since))
        span = max(1, round(self._parameters.mean_s / interval_s))
        now = self._pressure.mean(0, min(age, span))[resource]
        near = self._pressure.mean(age, age + span)[resource]
        older = self._pressure.mean(age + span, age + 3 * span)[resource] if len(self._pressure) > age + span else near
        rise = np.maximum(now - np.minimum(near, older), 0.0)
        new = rise * rise / np.maximum(now, 1e-12)
        return new / max(new.sum() + _FLUCTUATES * now.sum(), 1e-12), now / max(now.sum(), 1e-12)

    def _confirmed(self, jobs: list[str]) -> Floats:
        known = (self._jobs.get(job, (0.0, 0.0)) for job in jobs)
        return np.array([confirmed / (contentions + 1.0) for confirmed, contentions in known])

    def _remember(self, protected: str, top: Container, resource: int) -> None:
        use = self._use(top.id, resource)
        known = self._accused.get(protected)
        if known is None or known.container != top.id or known.resource != resource:
            known = self._accused[protected] = _Accused(top.job, top.id, resource, use, self._t)
        known.most, known.ranked_at = max(known.most, use), self._t

    def _learn(self, accused: _Accused) -> None:
        """The contention is over: did it end as the accused let go?"""
        let_go = self._use(accused.container, accused.resource) < 0.5 * accused.most
        confirmed, contentions = self._jobs.pop(accused.job, (0.0, 0.0))
        self._jobs[accused.job] = (confirmed + let_go, contentions + 1.0)
        while len(self._jobs) > _MOST_JOBS:  # The one that was accused the longest ago.
            del self._jobs[next(iter(self._jobs))]

    def _use(self, name: str, resource: int) -> float:
        rows = self._pressure.rows.ids
        return float(self._pressure.now[resource, rows.index(name)]) if name in rows else 0.0
