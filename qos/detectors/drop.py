from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from serenity.qos.contention import Cause, Contention, Evidence
from serenity.qos.detectors.baseline import LaggedBaseline
from serenity.qos.detectors.cause import Surroundings, cause_of
from serenity.qos.frame import PRODUCTION, Container, Frame, Indicator
from serenity.qos.stages import parameter

# What is watched where the application says nothing itself, and what it means.
_SIGNALS = {"cpu_granted": Indicator("cpu_granted", "share of the CPU time wanted", "higher")}
# Below this much CPU in all best-effort rows together nothing best-effort runs.
_RUNNING_CPU = 0.02


@dataclass(frozen=True)
class DropParameters:
    signal: str = parameter("sli", "", "the column to watch: sli or cpu_granted")
    threshold: float = parameter(0.25, "share of the baseline", "how much worse than the baseline a sample must be")
    votes: int = parameter(2, "samples", "how many of the window must be that much worse")
    window: int = parameter(3, "samples", "how many recent samples are looked at")
    lag_s: float = parameter(5.0, "s", "how recent a sample is kept out of the baseline")
    baseline_s: float = parameter(60.0, "s", "how long a past makes the baseline")

    def __post_init__(self) -> None:
        if self.signal != "sli" and self.signal not in _SIGNALS:
            raise ValueError(f"signal = {self.signal!r}; write one of sli, {', '.join(_SIGNALS)}")
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold = {self.threshold}; it is a share, between 0 and 1")
        if not 1 <= self.votes <= self.window:
            raise ValueError(f"votes = {self.votes}; it must lie from 1 to window = {self.window}")
        if not (self.lag_s >= 0 and self.baseline_s > 0):
            raise ValueError(f"lag_s = {self.lag_s}, baseline_s = {self.baseline_s}; write seconds greater than 0")

    @property
    def min_samples(self) -> int:
        """How many samples make a baseline: three windows' worth and one; fewer are no past to speak of."""
        return 3 * self.window + 1


class Drop:
    """A production container's signal is much worse than it was a while ago.

    With `baseline` the median of the samples between `lag_s` and `lag_s + baseline_s` old (at
    least ``3 * window + 1`` of them):

        deviation = (observed - baseline) / baseline
        a sample votes when it is worse by at least `threshold`

    A contention begins when `votes` of the last `window` samples vote and some best-effort
    row is running; for ``cpu_granted`` only if best-effort is busy enough to be the cause.
    It holds, with the baseline frozen, until `votes` of the last `window` samples are worse
    by less than half of `threshold`, no best-effort row is left, or nothing was measured for
    `baseline_s`.  A missing sample takes its place in the window and votes for nothing.

    ``cpu_granted`` is not complained of in a frame in which the container's own indicator was
    measured: that one speaks then, and starving applications often do not answer.

    Source: Serenity's drop filter (a signal's drop against lagged samples, with votes, 2016);
    the median, the freezing and the hysteresis are ours.
    """

    name = "drop"

    def __init__(self, parameters: DropParameters) -> None:
        self._parameters = parameters
        self._rows: dict[str, _Row] = {}
        self._containers: tuple[Container, ...] = ()
        self._watched: list[tuple[int, Container, Indicator]] = []
        self._psi_cpu = _baseline(parameters)

    def relearn(self, protected_id: str) -> None:
        self._rows.pop(protected_id, None)

    def _watch(self, containers: tuple[Container, ...]) -> Iterator[tuple[int, Container, Indicator]]:
        for i, container in enumerate(containers):
            meaning = _SIGNALS.get(self._parameters.signal, container.indicator)
            if container.role == PRODUCTION and meaning is not None:
                yield i, container, meaning

    def step(self, frame: Frame) -> list[Contention]:
        before, self._rows = self._rows, {}
        signal, granted = frame.column(self._parameters.signal), frame.column("cpu_granted")
        node = _Node(
            best_effort_cpu=_best_effort_cpu(frame),
            psi_cpu=frame.readings.get("psi_cpu", math.nan),
            psi_cpu_baseline=_known(self._psi_cpu.value(frame.t)),
        )
        # What the application says of itself outranks what we conclude from outside.
        proxy, own_word = self._parameters.signal != "sli", frame.column("sli")
        contentions = []
        if frame.containers is not self._containers:
            self._containers, self._watched = frame.containers, list(self._watch(frame.containers))
        for i, container, meaning in self._watched:
            row = self._rows[container.id] = before.get(container.id) or _Row(self._parameters)
            row.take(frame.t, float(signal[i]), float(granted[i]), meaning)
            row.judge(node)
            if row.holds and not (proxy and math.isfinite(own_word[i])):
                contentions.append(row.contention(container, meaning))
        # In a contention the node's pressure is the contention's, and no baseline.
        if not contentions and math.isfinite(node.psi_cpu):
            self._psi_cpu.learn(frame.t, node.psi_cpu)
        return contentions


@dataclass(frozen=True, slots=True)
class _Node:
    best_effort_cpu: float | None  # Cores; None: there is no best-effort row; NaN: not measured yet.
    psi_cpu: float
    psi_cpu_baseline: float

    @property
    def runs_best_effort(self) -> bool:
        """What just came is not measured yet, and runs."""
        return self.best_effort_cpu is not None and not self.best_effort_cpu < _RUNNING_CPU


@dataclass(frozen=True, slots=True)
class _Sample:
    t: float
    value: float
    granted: float
    baseline: float
    deviation: float
    worse: float  # The deviation, positive in the direction that hurts; NaN: no value or no baseline.


@dataclass
class _Seen:
    """The samples of a contention, from the window that began it to now."""

    start: float
    samples: int = 0
    missing: int = 0

    def add(self, sample: _Sample) -> None:
        self.samples += 1
        self.missing += math.isnan(sample.value)


class _Row:
    """What is remembered of one production container."""

    def __init__(self, parameters: DropParameters) -> None:
        self._parameters = parameters
        self._signal = _baseline(parameters)
        self._granted = _baseline(parameters)
        self._window: deque[_Sample] = deque(maxlen=parameters.window)
        self._last: _Sample | None = None  # The last one that could be compared.
        self._since: float | None = None  # When the contention that holds was noticed.
        self._seen: _Seen | None = None  # What it rests on.
        self._cause: Cause = "unknown"

    @property
    def holds(self) -> bool:
        return self._since is not None

    def take(self, t: float, value: float, granted: float, meaning: Indicator) -> None:
        baseline = _known(self._signal.value(t))
        deviation = (value - baseline) / baseline if baseline > 0 else math.nan
        sample = _Sample(
            t, value, granted, baseline, deviation, -deviation if meaning.better == "higher" else deviation
        )
        self._window.append(sample)
        if math.isfinite(sample.worse):
            self._last = sample
        if self._seen is not None:
            self._seen.add(sample)
        for learns, measured in ((self._signal, value), (self._granted, granted)):
            if math.isfinite(measured):
                learns.learn(t, measured)

    def judge(self, node: _Node) -> None:
        """Begins or ends the contention."""
        now, parameters = self._window[-1], self._parameters
        if self._since is None:
            votes = [each for each in self._window if each.worse >= parameters.threshold]
            if len(votes) < parameters.votes or not node.runs_best_effort:
                return
            self._cause = self._cause_now(now, node)
            if parameters.signal == "sli" or self._cause == "cpu":
                self._since = now.t
                self._seen = _Seen(self._window[0].t)
                for each in self._window:
                    self._seen.add(each)
                self._signal.freeze(now.t, since=votes[0].t)
                self._granted.freeze(now.t, since=votes[0].t)
            return
        recovered = sum(each.t > self._since and each.worse < parameters.threshold / 2 for each in self._window)
        silent_s = now.t - self._last.t if self._last is not None else 0.0
        if recovered >= parameters.votes or node.best_effort_cpu is None or silent_s > parameters.baseline_s:
            self._since = self._seen = None
            self._signal.thaw(now.t)
            self._granted.thaw(now.t)
            self._window.clear()
        elif self._cause != "cpu":
            # Once seen to be CPU it stays so: throttling the culprit hides the sign before the signal is back.
            self._cause = self._cause_now(now, node)

    def _cause_now(self, now: _Sample, node: _Node) -> Cause:
        return cause_of(
            Surroundings(
                signal=self._parameters.signal,
                best_effort_cpu=_known(node.best_effort_cpu),
                cpu_granted=now.granted,
                cpu_granted_baseline=_known(self._granted.value(now.t)),
                psi_cpu=node.psi_cpu,
                psi_cpu_baseline=node.psi_cpu_baseline,
            )
        )

    def contention(self, container: Container, meaning: Indicator) -> Contention:
        seen, looked = self._last, self._seen
        assert seen is not None and looked is not None  # A contention begins with votes, which were compared.
        threshold = self._parameters.threshold
        evidence = Evidence(
            signal=meaning.name,
            unit=meaning.unit,
            observed=seen.value,
            baseline=seen.baseline,
            deviation=seen.deviation,
            threshold=-threshold if meaning.better == "higher" else threshold,
            window_start=looked.start,
            window_end=self._window[-1].t,
            samples=looked.samples,
            missing=looked.missing,
        )
        severity = _severity(seen.worse, threshold, meaning)
        return Contention(self._cause, container, severity, evidence, Drop.name, asdict(self._parameters))


def _severity(worse: float, threshold: float, meaning: Indicator) -> float:
    """0 at the threshold; 1 when nothing is left (higher is better) or the signal is beyond all bounds (lower)."""
    left = (1 - worse) / (1 - threshold) if meaning.better == "higher" else (1 + threshold) / (1 + worse)
    return min(1.0, max(0.0, 1.0 - left))


def _best_effort_cpu(frame: Frame) -> float | None:
    used = frame.column("cpu")[~frame.production]
    if not len(used):
        return None
    return math.nan if np.isnan(used).all() else float(np.nansum(used))


def _baseline(parameters: DropParameters) -> LaggedBaseline:
    return LaggedBaseline(parameters.lag_s, parameters.baseline_s, parameters.min_samples)


def _known(value: float | None) -> float:
    return math.nan if value is None else value
