from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from serenity.qos.contention import Cause, Contention, Evidence
from serenity.qos.detectors.baseline import LaggedBaselines
from serenity.qos.detectors.cause import Surroundings, cause_of
from serenity.qos.frame import PRODUCTION, Container, Floats, Frame, Indicator
from serenity.qos.rows import Ring, Rows, moved
from serenity.qos.stages import NOT_NEGATIVE, POSITIVE, Parameters, Range, parameter

# Columns to watch where the application declares no indicator, and what they mean.
_SIGNALS = {"cpu_granted": Indicator("cpu_granted", "share of the CPU time wanted", "higher")}
# If all best-effort rows together use less CPU than this, no best-effort task counts as running.
_RUNNING_CPU = 0.02


@dataclass(frozen=True)
class DropParameters(Parameters):
    signal: str = parameter("sli", "", "the column to watch: sli, or cpu_granted of the filter", column=True)
    threshold: float = parameter(
        0.25, "share of the baseline", "how much worse than the baseline a sample must be", Range(above=0.0, below=1.0)
    )
    votes: int = parameter(2, "samples", "how many of the window must be that much worse", Range(at_least=1))
    window: int = parameter(3, "samples", "how many recent samples are looked at", Range(at_least=1))
    lag_s: float = parameter(5.0, "s", "how recent a sample is kept out of the baseline", NOT_NEGATIVE)
    baseline_s: float = parameter(60.0, "s", "how long a past makes the baseline", POSITIVE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.signal != "sli" and self.signal not in _SIGNALS:
            raise ValueError(f"signal = {self.signal!r}; write one of sli, {', '.join(_SIGNALS)}")
        if self.votes > self.window:
            raise ValueError(f"votes = {self.votes}; it must lie from 1 to window = {self.window}")

    @property
    def min_samples(self) -> int:
        """The least number of samples in a baseline: three windows and one; fewer are too short a past."""
        return 3 * self.window + 1


class Drop:
    """A production container's signal is much worse than it was a while ago.

    With `baseline` the median of the samples between `lag_s` and `lag_s + baseline_s` old (at
    least ``3 * window + 1`` of them):

        deviation = (observed - baseline) / baseline
        a sample votes when it is worse by at least `threshold`

    A contention begins when `votes` of the last `window` samples vote and some best-effort
    row is running; for ``cpu_granted`` only if the cause is ``cpu``.  It holds, with the
    baseline frozen, until `votes` of the last `window` samples are worse by less than half of
    `threshold`, no best-effort row is left, or nothing was measured for `baseline_s`.  A missing
    sample takes its place in the window, and does not vote.

    For ``cpu_granted`` nothing is reported in a frame in which the container's own indicator was measured: then the
    indicator decides.  Starving applications often do not answer, and ``cpu_granted`` is watched for these.

    The cause is ``cpu`` if ``cpu_granted`` has fallen by at least 0.1 (where it is not measured, if the node's CPU
    pressure has risen as much) and best-effort uses at least 0.1 cores; else ``slo`` (``unknown`` for ``cpu_granted``).

    Source: Serenity's drop analyzer (2016), in which the samples 1, 2, 4, … before the newest vote on the newest.
    Here each of the newest is compared with the median of those before; that, the freezing and the hysteresis are ours.
    """

    name = "drop"
    reads = frozenset({"sli", "cpu"})  # And cpu_granted, which a filter derives.

    def __init__(self, parameters: DropParameters) -> None:
        self._parameters = parameters
        self._containers: tuple[Container, ...] = ()
        self._watched: list[tuple[Container, Indicator]] = []
        self._places = np.zeros(0, dtype=np.intp)  # Of the watched containers, in the frame.
        self._hurts = np.zeros(0)  # 1 where the signal rises when the application suffers, else -1.
        self._rows = Rows()
        self._signal, self._granted = _baselines(parameters), _baselines(parameters)
        self._recent = Ring(parameters.window, 1, math.nan)
        self._begun = np.zeros(0)  # Samples up to this time belong to no window.
        self._cases: dict[str, _Case] = {}
        self._psi_cpu = _baselines(parameters, rows=1)
        self._last_t = -math.inf

    def relearn(self, protected_id: str) -> None:
        self._cases.pop(protected_id, None)
        row = self._rows.places.get(protected_id)
        if row is not None:
            self._signal.forget(row)
            self._granted.forget(row)
            self._begun[row] = self._last_t

    def step(self, frame: Frame) -> list[Contention]:
        if frame.containers is not self._containers:
            self._follow(frame)
        t, psi_cpu = frame.t, frame.readings.get("psi_cpu", math.nan)
        if not self._watched:
            self._psi_cpu.learn(t, np.array([psi_cpu]))
            self._last_t = t
            return []
        signal = frame.column(self._parameters.signal)[self._places]
        granted = frame.column("cpu_granted")[self._places]
        node = _Node(_best_effort_cpu(frame), psi_cpu, self._psi_cpu.value(t, 0))
        self._open_cases(t, signal)
        cases = sorted(self._cases.items(), key=lambda case: case[1].row)
        for _, case in cases:
            case.take(t, float(signal[case.row]), float(granted[case.row]), self._signal.value(t, case.row))
        self._recent.push(t, signal[None])
        self._signal.learn(t, signal)
        self._granted.learn(t, granted)
        # The application's own indicator outranks what is concluded from outside.
        proxy, own_word = self._parameters.signal != "sli", frame.column("sli")[self._places]
        contentions = []
        for name, case in cases:
            self._judge(name, case, node)
            if case.holds and not (proxy and math.isfinite(own_word[case.row])):
                contentions.append(case.contention(*self._watched[case.row]))
        # During a contention the node's pressure is due to the contention, and no baseline.
        if not contentions:
            self._psi_cpu.learn(t, np.array([psi_cpu]))
        self._last_t = t
        return contentions

    def _follow(self, frame: Frame) -> None:
        """The set of containers has changed, or may have."""
        self._containers = frame.containers
        told = (
            (i, each, _SIGNALS.get(self._parameters.signal, each.indicator)) for i, each in enumerate(frame.containers)
        )
        watched = [(i, each, means) for i, each, means in told if each.role == PRODUCTION and means is not None]
        self._watched = [(each, means) for _, each, means in watched]
        self._places = np.array([i for i, _, _ in watched], dtype=np.intp)
        self._hurts = np.array([-1.0 if means.better == "higher" else 1.0 for _, means in self._watched])
        places = self._rows.moves([each.id for each, _ in self._watched])
        if places is None:
            return
        for each in (self._signal, self._granted, self._recent):
            each.move(places)
        self._begun = moved(self._begun, places, self._last_t)
        self._cases = {name: case for name, case in self._cases.items() if name in self._rows.places}
        for name, case in self._cases.items():
            case.row = self._rows.places[name]

    def _open_cases(self, t: float, signal: Floats) -> None:
        """Opens a case for each container whose newest sample may vote; only containers with a case are examined."""
        limits = signal / (1.0 + self._hurts * self._parameters.threshold)
        for row in np.flatnonzero(self._signal.may_be_beyond(t, limits, self._hurts)):
            name = self._rows.ids[row]
            if name not in self._cases:
                times, values = self._recent.times(self._recent.span), self._recent.window(self._recent.span)[:, 0, row]
                recent = times > self._begun[row]
                past = zip(times[recent].tolist(), values[recent].tolist(), strict=True)
                self._cases[name] = _Case(self._parameters, int(row), float(self._hurts[row]), past)

    def _judge(self, name: str, case: _Case, node: _Node) -> None:
        held, now = case.holds, case.window[-1]
        case.judge(node, self._granted.value(now.t, case.row))
        if case.holds and not held:
            for each in (self._signal, self._granted):
                each.freeze(now.t, case.row, since=case.votes[0].t)
        elif held and not case.holds:
            for each in (self._signal, self._granted):
                each.thaw(now.t, case.row)
            self._begun[case.row] = now.t
        if not case.holds and not case.votes:
            del self._cases[name]


@dataclass(frozen=True, slots=True)
class _Node:
    best_effort_cpu: float | None  # Cores; None: there is no best-effort row; NaN: not measured yet.
    psi_cpu: float
    psi_cpu_baseline: float

    @property
    def runs_best_effort(self) -> bool:
        """True also where best-effort was not measured yet: tasks that have just come are running."""
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
    """Counts the samples of a contention, from the window that began it to now."""

    start: float
    samples: int = 0
    missing: int = 0

    def add(self, sample: _Sample) -> None:
        self.samples += 1
        self.missing += math.isnan(sample.value)


class _Case:
    """One production container whose signal is, or a moment ago was, worse by the threshold."""

    def __init__(self, parameters: DropParameters, row: int, hurts: float, past: Iterable[tuple[float, float]]) -> None:
        """`past`: times and values of the samples before, none of which has voted."""
        self.row = row
        self._hurts = hurts
        self._parameters = parameters
        unseen = (_Sample(t, value, *[math.nan] * 4) for t, value in past)
        self.window: deque[_Sample] = deque(unseen, maxlen=parameters.window)
        self._last: _Sample | None = None  # The latest sample that could be compared with a baseline.
        self._since: float | None = None  # When the present contention was noticed; None: there is none.
        self._seen: _Seen | None = None  # The samples of the present contention.
        self._cause: Cause = "unknown"

    @property
    def holds(self) -> bool:
        return self._since is not None

    @property
    def votes(self) -> list[_Sample]:
        return [each for each in self.window if each.worse >= self._parameters.threshold]

    def take(self, t: float, value: float, granted: float, baseline: float) -> None:
        deviation = (value - baseline) / baseline if baseline > 0 else math.nan
        sample = _Sample(t, value, granted, baseline, deviation, self._hurts * deviation)
        self.window.append(sample)
        if math.isfinite(sample.worse):
            self._last = sample
        if self._seen is not None:
            self._seen.add(sample)

    def judge(self, node: _Node, granted_baseline: float) -> None:
        """Begins or ends the contention."""
        now, parameters = self.window[-1], self._parameters
        if self._since is None:
            if len(self.votes) < parameters.votes or not node.runs_best_effort:
                return
            self._cause = self._cause_now(now, node, granted_baseline)
            if parameters.signal == "sli" or self._cause == "cpu":
                self._since = now.t
                self._seen = _Seen(self.window[0].t)
                for each in self.window:
                    self._seen.add(each)
            return
        recovered = sum(each.t > self._since and each.worse < parameters.threshold / 2 for each in self.window)
        silent_s = now.t - self._last.t if self._last is not None else 0.0
        if recovered >= parameters.votes or node.best_effort_cpu is None or silent_s > parameters.baseline_s:
            self._since = self._seen = None
            self.window.clear()
        elif self._cause != "cpu":
            # A cause of ``cpu`` stays: throttling the culprit hides its sign before the signal has recovered.
            self._cause = self._cause_now(now, node, granted_baseline)

    def _cause_now(self, now: _Sample, node: _Node, granted_baseline: float) -> Cause:
        return cause_of(
            Surroundings(
                signal=self._parameters.signal,
                best_effort_cpu=math.nan if node.best_effort_cpu is None else node.best_effort_cpu,
                cpu_granted=now.granted,
                cpu_granted_baseline=granted_baseline,
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
            window_end=self.window[-1].t,
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


def _baselines(parameters: DropParameters, rows: int = 0) -> LaggedBaselines:
    return LaggedBaselines(parameters.lag_s, parameters.baseline_s, parameters.min_samples, rows)
