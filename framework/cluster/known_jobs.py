"""Cycles per instruction of every production job, on every type of CPU, as all agents together have seen them.

Mean and variance are those of container-minutes, aged with a half-life: a job is deployed anew,
its users change their habits.  Executors tell their agent's part each minute; now and then an
executor that tells of jobs is told what the cluster knows of them.

Source: Zhang et al., CPI²: CPU performance isolation for shared compute clusters, EuroSys 2013
(per job and CPU type, aged); the merging of variances is Chan, Golub and LeVeque's, 1979.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from serenity.framework.cluster.kept import JobCpi
from serenity.wire.messages.statistics import Cpi, JobStatistics, KnownJobs, Statistics

HALF_LIFE_S = 86_400.0
# CPI² judges no job by fewer of them.
LEAST_SAMPLES = 30.0
_TOLD_EVERY_S = 600.0
_MOST = 20_000  # Jobs times CPU types; 200 bytes each.
_MOST_LISTENERS = 20_000


@dataclass(slots=True)
class _Aged:
    samples: float
    mean: float
    variance: float
    at: float

    def age(self, now_s: float) -> None:
        """A clock that was set back ages nothing."""
        self.samples *= 0.5 ** (max(0.0, now_s - self.at) / HALF_LIFE_S)
        self.at = max(self.at, now_s)

    def merge(self, cpi: Cpi) -> None:
        total = self.samples + cpi.samples
        share, distance = cpi.samples / total, cpi.mean - self.mean
        self.variance += share * (cpi.variance - self.variance) + share * (1.0 - share) * distance * distance
        self.mean += share * distance
        self.samples = total


class JobsOfCluster:
    """Jobs go by their names, whichever framework runs them, as in detector ``cpi_outlier``."""

    def __init__(self, kept: Iterable[JobCpi] = ()) -> None:
        # By CPU type and job; the one that was heard of last stands last.
        self._known = {
            each.key: _Aged(each.samples, each.mean, each.variance, each.at)
            for each in sorted(kept, key=lambda each: each.at)[-_MOST:]
        }
        self._changed: dict[tuple[str, str], None] = {}
        self._told_at: dict[str, float] = {}  # By listener.

    def learn(self, said: Statistics, now_s: float) -> None:
        for each in said.jobs:
            if each.role == "production" and each.cpi is not None and each.cpi.samples > 0:
                key = said.cpu_type, each.job
                known = self._known.pop(key, None)
                if known is None:
                    known = _Aged(0.0, 0.0, 0.0, now_s)
                known.age(now_s)
                known.merge(each.cpi)
                if math.isfinite(known.mean + known.variance):  # Else its executor told nonsense: begin anew.
                    self._known[key] = known
                    self._changed[key] = None
        while len(self._known) > _MOST:
            del self._known[next(iter(self._known))]

    def changed(self, most: int) -> list[JobCpi]:
        """At most `most` of those that were told of since they were returned here last."""
        keys = list(self._changed)[:most]
        for key in keys:
            del self._changed[key]
        there = ((key, self._known[key]) for key in keys if key in self._known)
        return [JobCpi(*key, **asdict(known)) for key, known in there]

    def of(self, cpu_type: str, job: str, now_s: float) -> Cpi | None:
        """None while too little is known of the job."""
        known = self._known.get((cpu_type, job))
        if known is None:
            return None
        known.age(now_s)
        if known.samples < LEAST_SAMPLES:
            return None
        return Cpi(samples=round(known.samples, 1), mean=known.mean, variance=known.variance)

    def for_listener(self, listener: str, said: Statistics, now_s: float) -> KnownJobs | None:
        """What the listener, which has `said` that, should know; None when it was told lately, or nothing is known."""
        last = self._told_at.get(listener)
        if last is not None and 0.0 <= now_s - last < _TOLD_EVERY_S:
            return None
        found = {each.job: self.of(said.cpu_type, each.job, now_s) for each in said.jobs if _is_judged(each)}
        jobs = {job: cpi for job, cpi in found.items() if cpi is not None}
        if not jobs:
            return None
        self._told_at.pop(listener, None)
        self._told_at[listener] = now_s
        while len(self._told_at) > _MOST_LISTENERS:
            del self._told_at[next(iter(self._told_at))]
        return KnownJobs(cpu_type=said.cpu_type, jobs=jobs)


def _is_judged(job: JobStatistics) -> bool:
    return job.role == "production" and job.cpi is not None
