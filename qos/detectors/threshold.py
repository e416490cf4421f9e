"""Detectors that compare a column with a limit, in so many of the last samples."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from serenity.qos.contention import Cause, Contention, Evidence
from serenity.qos.frame import BEST_EFFORT, Container, Frame
from serenity.qos.stages import NOT_NEGATIVE, Parameters, Range, parameter

NODE_CPU = "node cpu"  # What `Overload` goes by: not of the container that it protects.


@dataclass(frozen=True, slots=True)
class _Sample:
    t: float
    value: float
    over: bool


class _Votes:
    """The last samples of each container; a contention holds while `votes` of `window` are over the limit.

    A container that was absolved raises no contention again until a whole window was measured within the limit.
    """

    def __init__(self, votes: int, window: int) -> None:
        self._votes = votes
        self._window = window
        self._samples: dict[str, deque[_Sample]] = {}
        self._over_anyway: set[str] = set()

    def keep(self, ids: set[str]) -> None:
        self._samples = {name: each for name, each in self._samples.items() if name in ids}
        self._over_anyway &= ids

    def absolve(self, name: str) -> None:
        self._samples.pop(name, None)
        self._over_anyway.add(name)

    def add(self, name: str, sample: _Sample) -> deque[_Sample] | None:
        """The window, when the contention holds."""
        samples = self._samples.setdefault(name, deque(maxlen=self._window))
        samples.append(sample)
        if len(samples) == self._window and not any(each.over or math.isnan(each.value) for each in samples):
            self._over_anyway.discard(name)
        holds = sum(each.over for each in samples) >= self._votes and name not in self._over_anyway
        return samples if holds else None


def _check(votes: int, window: int) -> None:
    if votes > window:
        raise ValueError(f"votes = {votes}; it must lie from 1 to window = {window}")


def _contention(
    cause: Cause,
    container: Container,
    signal: str,
    unit: str,
    limit: float,
    window: deque[_Sample],
    detector: PressureDetector | Slo | Overload,
) -> Contention:
    """`limit` is the baseline here; the threshold is 0, for reaching it is enough."""
    value = next(each.value for each in reversed(window) if not math.isnan(each.value))
    deviation = (value - limit) / limit if limit else math.inf
    evidence = Evidence(
        signal, unit, value, limit, deviation, 0.0, window[0].t, window[-1].t, len(window),
        sum(math.isnan(each.value) for each in window),
    )  # fmt: skip
    severity = min(1.0, abs(deviation) / (1.0 + abs(deviation)))
    return Contention(cause, container, severity, evidence, detector.name, asdict(detector.parameters))


@dataclass(frozen=True)
class PressureParameters(Parameters):
    column: str = parameter("psi_memory", "", "psi_cpu, psi_io or psi_memory", column=True)
    threshold: float = parameter(
        0.1, "share of time", "waiting for more than this is suffering", Range(above=0.0, below=1.0)
    )
    votes: int = parameter(3, "samples", "how many of the window must be over it", Range(at_least=1))
    window: int = parameter(5, "samples", "how many recent samples are looked at", Range(at_least=1))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.column not in ("psi_cpu", "psi_io", "psi_memory"):
            raise ValueError(f"column = {self.column!r}; write psi_cpu, psi_io or psi_memory")
        _check(self.votes, self.window)


class PressureDetector:
    """A production container waits for a resource for more than a share of its time (PSI).

    Fires while `column` > `threshold` in `votes` of the last `window` samples and a best-effort row
    is there.  A missing sample votes for nothing.  The cause is the resource that is waited for.  Where it turned
    out not to be best-effort's doing, it fires anew only after a whole window within the limit.

    Source: the signal is Linux' PSI (``Documentation/accounting/psi.rst``); oomd acts on the same (Facebook, 2018).
    """

    name = "pressure"

    def __init__(self, parameters: PressureParameters) -> None:
        self.parameters = parameters
        self._votes = _Votes(parameters.votes, parameters.window)

    def relearn(self, protected_id: str) -> None:
        self._votes.absolve(protected_id)

    def step(self, frame: Frame) -> list[Contention]:
        column, limit = self.parameters.column, self.parameters.threshold
        causes: dict[str, Cause] = {"psi_cpu": "cpu", "psi_io": "io", "psi_memory": "memory"}
        values = frame.column(column)
        self._votes.keep(set(frame.ids))
        found = []
        for i, container in _production(frame):
            window = self._votes.add(container.id, _Sample(frame.t, float(values[i]), bool(values[i] > limit)))
            if window is not None:
                found.append(_contention(causes[column], container, column, "share of time", limit, window, self))
        return found if _has_best_effort(frame) else []


@dataclass(frozen=True)
class SloParameters(Parameters):
    margin: float = parameter(0.0, "share of the objective", "how far beyond it is missed", NOT_NEGATIVE)
    votes: int = parameter(2, "samples", "how many of the window must miss it", Range(at_least=1))
    window: int = parameter(3, "samples", "how many recent samples are looked at", Range(at_least=1))

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.votes, self.window)


class Slo:
    """An application misses the objective that it declares for its indicator.

    Fires while `sli` is beyond objective + `margin` x |objective| (lower is better), or short of objective -
    `margin` x |objective| (higher is better), in `votes` of the last `window` samples, and a best-effort
    row is there.  Containers without an objective are left alone.  The cause is ``slo``.  Where it turned
    out not to be best-effort's doing, it fires anew only after a whole window in which the objective was met.

    Source: the signal that Heracles acts on (Lo et al., ISCA 2015), with votes.
    """

    name = "slo"
    reads = frozenset({"sli"})

    def __init__(self, parameters: SloParameters) -> None:
        self.parameters = parameters
        self._votes = _Votes(parameters.votes, parameters.window)

    def relearn(self, protected_id: str) -> None:
        self._votes.absolve(protected_id)

    def step(self, frame: Frame) -> list[Contention]:
        values = frame.column("sli")
        self._votes.keep(set(frame.ids))
        found = []
        for i, container in _production(frame):
            told = container.indicator
            if told is None or told.objective is None:
                continue
            margin, value = self.parameters.margin, float(values[i])
            lower = told.better == "lower"
            limit = told.objective + (margin if lower else -margin) * abs(told.objective)
            window = self._votes.add(container.id, _Sample(frame.t, value, value > limit if lower else value < limit))
            if window is not None:
                found.append(_contention("slo", container, told.name, told.unit, limit, window, self))
        return found if _has_best_effort(frame) else []


@dataclass(frozen=True)
class OverloadParameters(Parameters):
    threshold: float = parameter(
        0.95, "share of the node", "use of all CPUs above which the node is overloaded", Range(above=0.0, at_most=1.0)
    )
    votes: int = parameter(3, "samples", "how many of the window must be over it", Range(at_least=1))
    window: int = parameter(5, "samples", "how many recent samples are looked at", Range(at_least=1))

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self.votes, self.window)


class Overload:
    """The node has no CPU left for its production (Serenity's "too high utilisation", 2016).

    Fires while the sum of `cpu` over all rows is at least `threshold` x the node's cpus in `votes`
    of the last `window` samples and a best-effort row uses CPU.  It protects the production
    container that used the greatest share of its allocation when that began.  The cause is ``overload``.
    Silent where the node's cpus are not known, and, where it turned out not to be best-effort's doing, until
    a whole window was below.
    """

    name = "overload"

    def __init__(self, parameters: OverloadParameters) -> None:
        self.parameters = parameters
        self._votes = _Votes(parameters.votes, parameters.window)
        self._protected: str | None = None

    def relearn(self, protected_id: str) -> None:
        if protected_id == self._protected:
            self._votes.absolve("node")

    def step(self, frame: Frame) -> list[Contention]:
        cpu = frame.column("cpu")
        limit = self.parameters.threshold * frame.node.cpus
        used = float(np.nansum(cpu)) if np.isfinite(cpu).any() else math.nan
        window = self._votes.add("node", _Sample(frame.t, used, used >= limit))
        rows = list(_production(frame))
        best_effort = cpu[~frame.production]
        if window is None or not rows or not (best_effort > 0).any():
            self._protected = None
            return []
        protected = next((container for _, container in rows if container.id == self._protected), None)
        if protected is None:
            share = [float(cpu[i]) / (container.cpus or math.inf) for i, container in rows]
            protected = rows[int(np.argmax(np.nan_to_num(np.array(share))))][1]
            self._protected = protected.id
        return [_contention("overload", protected, NODE_CPU, "cores", limit, window, self)]


def _production(frame: Frame) -> Iterator[tuple[int, Container]]:
    for i in np.flatnonzero(frame.production):
        yield int(i), frame.containers[i]


def _has_best_effort(frame: Frame) -> bool:
    return any(each.role == BEST_EFFORT for each in frame.containers)
