from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from serenity.qos.contention import Contention, Evidence
from serenity.qos.frame import Container, Frame
from serenity.qos.rows import Rows, moved
from serenity.qos.sampling import Sampling
from serenity.qos.stages import NOT_NEGATIVE, POSITIVE, Parameters, Range, parameter
from serenity.wire.messages.statistics import Cpi

_PERIOD_S = 60.0  # One CPI sample a minute,
_DURATION_S = 10.0  # taken over ten seconds of it.
_MOST_JOBS = 1000


@dataclass(frozen=True)
class CpiOutlierParameters(Parameters):
    deviations: float = parameter(
        2.0, "standard deviations", "above the job's mean, beyond which CPI is an outlier", POSITIVE
    )
    outliers: int = parameter(3, "samples", "how many of the window must be outliers", Range(at_least=1))
    window_s: float = parameter(300.0, "s", "in which they are counted", POSITIVE)
    min_samples: int = parameter(30, "samples", "of the job, before it is judged", Range(at_least=2))
    min_cpu: float = parameter(0.25, "cores", "below this use CPI is left out", NOT_NEGATIVE)
    memory: int = parameter(1440, "samples", "over which a job's mean and deviation are learnt", Range(at_least=2))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.outliers > self.window_s / _PERIOD_S:
            raise ValueError(
                f"outliers = {self.outliers}: there is a sample a minute, so that window_s = {self.window_s:g} never "
                f"has as many; write window_s = {self.outliers * _PERIOD_S:g} or more"
            )
        if self.min_samples > self.memory:
            raise ValueError(f"min_samples = {self.min_samples}; it must lie from 2 to memory = {self.memory}")


@dataclass
class _Job:
    """Mean and variance of the CPI of all its containers: over all samples at first, exponential after `memory`."""

    count: float = 0.0
    mean: float = 0.0
    square: float = 0.0  # Variance: the mean squared distance from the mean.

    def learn(self, cpi: float, memory: int) -> None:
        self.count = min(self.count + 1.0, float(memory))
        distance = cpi - self.mean
        self.mean += distance / self.count
        self.square += (distance * (cpi - self.mean) - self.square) / self.count


@dataclass
class _Outliers:
    """The recent outliers of a container, and the job's mean and limit that they were compared with."""

    job: str
    seen: deque[tuple[float, float]] = field(default_factory=deque)  # (when, CPI)
    limit: float = math.nan
    mean: float = math.nan


class CpiOutlier:
    """A container's CPI is an outlier among those of its job, again and again (CPI²).

    One sample a minute: Σ cycles / Σ instructions over the 10 s that begin with the minute's first frame (over that
    frame alone, if the next comes later), if the mean CPU use was at least `min_cpu`.  A sample is an outlier above
    mean + `deviations` x σ of its job's last `memory` samples.  These include outliers once they are older than
    `window_s`.  Where the framework has more samples of the job, from all agents with this type of CPU, its mean and σ
    are taken instead.  Fires while `outliers` outliers lie within the last `window_s` and a best-effort row is there;
    judges nothing before the job has `min_samples`.  The cause is ``unknown``.

    Source: Zhang et al., CPI²: CPU performance isolation for shared compute clusters, EuroSys 2013.
    """

    name = "cpi_outlier"

    def __init__(self, parameters: CpiOutlierParameters) -> None:
        self._parameters = parameters
        self._rows = Rows()
        self._sampling = Sampling()
        self._sums = np.zeros((4, 0))  # Sums of the sample under way: cycles, instructions, cpu, frames.
        self._minute, self._until = math.nan, -math.inf  # The sample's minute, and when the sample is complete.
        self._outliers: dict[str, _Outliers] = {}
        self._jobs: dict[str, _Job] = {}

    def know(self, jobs: Mapping[str, Cpi]) -> None:
        """Takes the cluster's figures for a job where they rest on more samples than our own."""
        for name, cpi in jobs.items():
            ours = self._jobs.pop(name, None) or _Job()
            if cpi.samples > ours.count:
                ours = _Job(min(cpi.samples, float(self._parameters.memory)), cpi.mean, cpi.variance)
            self._jobs[name] = ours
        self._bound()

    def relearn(self, protected_id: str) -> None:
        self._outliers.pop(protected_id, None)
        if protected_id in self._rows.places:
            self._sums[:, self._rows.places[protected_id]] = 0.0

    def step(self, frame: Frame) -> list[Contention]:
        places = self._rows.moves(frame.ids)
        if places is not None:
            self._sums = moved(self._sums, places, 0.0)
            here = set(self._rows.ids)
            self._outliers = {name: each for name, each in self._outliers.items() if name in here}
        self._sampling.observe(frame.t)
        if frame.t // _PERIOD_S != self._minute:
            self._take_samples(frame)
            self._minute, self._until = frame.t // _PERIOD_S, frame.t + _DURATION_S
        if frame.t < self._until:
            now = np.stack([*map(frame.column, ("cycles", "instructions", "cpu")), np.ones(len(frame))])
            self._sums += np.where(np.isfinite(now).all(axis=0) & frame.production, now, 0.0)
        if frame.t + self._sampling.interval_s >= self._until:  # The next frame would be too late.
            self._take_samples(frame)
            self._until = -math.inf
        holding = self._holding(frame.t)
        if not holding or frame.production.all():
            return []
        rows = sorted(self._rows.places[name] for name in holding)
        return [self._contention(frame.containers[row], self._outliers[self._rows.ids[row]]) for row in rows]

    def _take_samples(self, frame: Frame) -> None:
        for row in np.flatnonzero(self._sums[3]):
            self._sample(frame.t, frame.containers[row], *self._sums[:, row].tolist())
        self._sums[:] = 0.0

    def _holding(self, t: float) -> list[str]:
        """The containers with enough outliers in the window; forgets containers that have none left in it."""
        for name, each in list(self._outliers.items()):
            while each.seen and each.seen[0][0] <= t - self._parameters.window_s:
                self._learn(each.job, each.seen.popleft()[1])
            if not each.seen:
                del self._outliers[name]
        return [name for name, each in self._outliers.items() if len(each.seen) >= self._parameters.outliers]

    def _sample(self, t: float, container: Container, cycles: float, instructions: float, cpu: float, n: float) -> None:
        cpi = cycles / instructions if instructions > 0 else math.nan
        if not (cpu / n >= self._parameters.min_cpu and math.isfinite(cpi)):
            return
        job = self._jobs.get(container.job) or _Job()
        limit = job.mean + self._parameters.deviations * math.sqrt(job.square)
        if job.count >= self._parameters.min_samples and (cpi > limit or container.id in self._outliers):
            found = self._outliers.setdefault(container.id, _Outliers(container.job))
            found.limit, found.mean = limit, job.mean
            if cpi > limit:  # Learnt later: the first outliers of a contention must not make the next ones look usual.
                found.seen.append((t, cpi))
                return
        self._learn(container.job, cpi)

    def _learn(self, name: str, cpi: float) -> None:
        job = self._jobs.pop(name, None) or _Job()
        job.learn(cpi, self._parameters.memory)
        self._jobs[name] = job
        self._bound()

    def _bound(self) -> None:
        while len(self._jobs) > _MOST_JOBS:  # Drops the job that was updated the longest ago.
            del self._jobs[next(iter(self._jobs))]

    def _contention(self, container: Container, found: _Outliers) -> Contention:
        observed = float(np.mean([cpi for _, cpi in found.seen]))
        evidence = Evidence(
            signal="cpi",
            unit="cycles per instruction",
            observed=observed,
            baseline=found.mean,
            deviation=observed / found.mean - 1.0,
            threshold=found.limit / found.mean - 1.0,
            window_start=found.seen[0][0],
            window_end=found.seen[-1][0],
            samples=len(found.seen),
            missing=0,
        )
        severity = max(0.0, 1.0 - found.limit / observed)
        return Contention("unknown", container, severity, evidence, self.name, asdict(self._parameters))
