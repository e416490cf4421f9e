from __future__ import annotations

import math
from collections import deque
from dataclasses import asdict, dataclass, field

import numpy as np

from serenity.qos.contention import Contention, Evidence
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container, Frame
from serenity.qos.stages import parameter

_PERIOD_S = 60.0  # A sample of CPI a minute,
_DURATION_S = 10.0  # over its first ten seconds.
_MOST_JOBS = 1000


@dataclass(frozen=True)
class CpiOutlierParameters:
    deviations: float = parameter(2.0, "standard deviations", "above the job's mean, beyond which CPI is an outlier")
    outliers: int = parameter(3, "samples", "how many of the window must be outliers")
    window_s: float = parameter(300.0, "s", "in which they are counted")
    min_samples: int = parameter(30, "samples", "of the job, before it is judged")
    min_cpu: float = parameter(0.25, "cores", "below this use CPI is left out")
    memory: int = parameter(1440, "samples", "over which a job's mean and deviation are learnt")

    def __post_init__(self) -> None:
        if not (self.deviations > 0 and self.outliers >= 1 and self.window_s > 0 and self.min_cpu >= 0):
            raise ValueError(
                "deviations and window_s must be greater than 0, outliers at least 1, min_cpu not negative"
            )
        if not 2 <= self.min_samples <= self.memory:
            raise ValueError(f"min_samples = {self.min_samples}; it must lie from 2 to memory = {self.memory}")


@dataclass
class _Job:
    """Mean and variance of CPI over its last `memory` samples, of all its containers."""

    count: float = 0.0
    mean: float = 0.0
    square: float = 0.0  # Mean square distance from the mean.

    def learn(self, cpi: float, memory: int) -> None:
        self.count = min(self.count + 1.0, float(memory))
        distance = cpi - self.mean
        self.mean += distance / self.count
        self.square += (distance * (cpi - self.mean) - self.square) / self.count


@dataclass
class _Row:
    cycles: float = 0.0
    instructions: float = 0.0
    cpu: float = 0.0
    frames: int = 0
    outliers: deque[tuple[float, float]] = field(default_factory=deque)  # (when, CPI)
    limit: float = math.nan
    mean: float = math.nan


class CpiOutlier:
    """A container's CPI is an outlier among those of its job, again and again (CPI²).

    Of each minute's first 10 s one sample, Σ cycles / Σ instructions, where the mean CPU use was
    at least `min_cpu`.  It is an outlier above mean + `deviations` x σ of its job's last `memory`
    samples, outliers included.  Fires while `outliers` of them lie within the last `window_s` and a
    best-effort row is there; judges nothing before the job has `min_samples`.  The cause is ``unknown``.

    Source: Zhang et al., CPI²: CPU performance isolation for shared compute clusters, EuroSys 2013.
    """

    name = "cpi_outlier"

    def __init__(self, parameters: CpiOutlierParameters) -> None:
        self._parameters = parameters
        self._rows: dict[str, _Row] = {}
        self._jobs: dict[str, _Job] = {}

    def relearn(self, protected_id: str) -> None:
        self._rows.pop(protected_id, None)

    def step(self, frame: Frame) -> list[Contention]:
        columns = [frame.column(name) for name in ("cycles", "instructions", "cpu")]
        before, self._rows = self._rows, {}
        found = []
        for i, container in enumerate(frame.containers):
            if container.role != PRODUCTION:
                continue
            row = self._rows[container.id] = before.get(container.id) or _Row()
            cycles, instructions, cpu = (float(each[i]) for each in columns)
            if frame.t % _PERIOD_S < _DURATION_S:
                if math.isfinite(cycles) and math.isfinite(instructions) and math.isfinite(cpu):
                    row.cycles, row.instructions = row.cycles + cycles, row.instructions + instructions
                    row.cpu, row.frames = row.cpu + cpu, row.frames + 1
            elif row.frames:
                self._sample(frame.t, container, row)
            while row.outliers and row.outliers[0][0] <= frame.t - self._parameters.window_s:
                row.outliers.popleft()
            if len(row.outliers) >= self._parameters.outliers:
                found.append(self._contention(container, row))
        return found if any(each.role == BEST_EFFORT for each in frame.containers) else []

    def _sample(self, t: float, container: Container, row: _Row) -> None:
        cpi = row.cycles / row.instructions if row.instructions > 0 else math.nan
        enough = row.cpu / row.frames >= self._parameters.min_cpu
        row.cycles = row.instructions = row.cpu = 0.0
        row.frames = 0
        if not (enough and math.isfinite(cpi)):
            return
        job = self._jobs.pop(container.job, None) or _Job()
        if job.count >= self._parameters.min_samples:
            row.mean = job.mean
            row.limit = job.mean + self._parameters.deviations * math.sqrt(job.square)
            if cpi > row.limit:
                row.outliers.append((t, cpi))
        job.learn(cpi, self._parameters.memory)
        self._jobs[container.job] = job
        while len(self._jobs) > _MOST_JOBS:  # The one that was sampled the longest ago.
            del self._jobs[next(iter(self._jobs))]

    def _contention(self, container: Container, row: _Row) -> Contention:
        observed = float(np.mean([cpi for _, cpi in row.outliers]))
        evidence = Evidence(
            signal="cpi",
            unit="cycles per instruction",
            observed=observed,
            baseline=row.mean,
            deviation=observed / row.mean - 1.0,
            threshold=row.limit / row.mean - 1.0,
            window_start=row.outliers[0][0],
            window_end=row.outliers[-1][0],
            samples=len(row.outliers),
            missing=0,
        )
        severity = max(0.0, 1.0 - row.limit / observed)
        return Contention("unknown", container, severity, evidence, self.name, asdict(self._parameters))
