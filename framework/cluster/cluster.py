"""What executors tell, handed to the parts that remember it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from serenity.framework.cluster.antagonists import Antagonist, Antagonists, Residents
from serenity.framework.cluster.kept import JobCpi, SloPeriod, storable
from serenity.framework.cluster.known_jobs import JobsOfCluster
from serenity.framework.cluster.services import Service, Services
from serenity.wire.messages import antagonists, slo
from serenity.wire.messages.corrections import RECOVERED, Correction
from serenity.wire.messages.kill_record import KillRecord
from serenity.wire.messages.statistics import KnownJobs, Slo, Statistics

_HOUR_S = 3600.0
# Outcomes follow within seconds, or never; an eviction that a restart has forgotten confirms nobody.
_MOST_EVICTED = 10_000
# So much of the statistics a restart may lose; and so many of them go with one commit, for which others wait.
_KEPT_EVERY_S = 300.0
_MOST_KEPT = 500


class Cluster:
    """One caller: the core's thread.  Times are seconds since the epoch."""

    def __init__(
        self,
        antagonists: Iterable[Antagonist] = (),
        job_cpi: Iterable[JobCpi] = (),
        slo_periods: Iterable[SloPeriod] = (),
    ) -> None:
        self.antagonists = Antagonists(antagonists)
        self._jobs = JobsOfCluster(job_cpi)
        self._residents = Residents()
        self._services = Services(slo_periods)
        self._kept_at: float | None = None
        # User, job, protected job and cause, by the kill record's id.
        self._evicted: dict[str, tuple[str, str, str, str]] = {}

    def told(self, agent_id: str, executor_id: str, said: Statistics, now_s: float) -> KnownJobs | None:
        """The answer to that executor, if there is one."""
        self._jobs.learn(said, now_s)
        self._residents.learn(agent_id, said, now_s)
        for each in said.jobs:
            if each.role == "production" and each.slo is not None:
                self._services.told(each.framework, each.job, agent_id, each.slo, now_s)
        return self._jobs.for_listener(f"{agent_id}/{executor_id}", said, now_s)

    def reported(self, who: str, report: slo.SloReport, now_s: float) -> slo.Service:
        """A production framework reports on its own service, and gets the service's status."""
        met = None
        if report.objective is not None:
            met = report.value >= report.objective if report.better == "higher" else report.value <= report.objective
        said = Slo(
            indicator=report.indicator,
            unit=report.unit,
            better=report.better,
            now=report.value,
            measured_s=report.seconds,
            objective=report.objective,
            met_s=report.seconds if met else 0.0,
        )
        return _status(self._services.told(who, report.service, who, said, now_s), now_s)

    def corrected(self, correction: Correction, now_s: float) -> None:
        if correction.action in ("throttle", "freeze", "evict") and not correction.dry_run:
            self._services.corrected(correction.protected_framework, correction.protected_job, now_s)

    def evicted(self, record: KillRecord, user: str, job: str, now_s: float) -> Antagonist | None:
        """A task of that job was evicted for production's sake; what the eviction has led to is mostly told later."""
        if not record.evicted or record.protected is None or not record.protected.job:
            return None
        if not storable(user, job, record.protected.job):
            return None
        self._residents.saw(record.agent.id, record.protected.job, now_s)  # Its executor may tell only in a minute.
        self._evicted[record.id] = user, job, record.protected.job, record.cause or ""
        while len(self._evicted) > _MOST_EVICTED:
            del self._evicted[next(iter(self._evicted))]
        return self.concluded(record.id, record.outcome, now_s) if record.outcome is not None else None

    def concluded(self, record_id: str, outcome: str, now_s: float) -> Antagonist | None:
        """A job evicted rightly is a confirmed antagonist.  An outcome that is told before its record is told again."""
        known = self._evicted.pop(record_id, None)
        if known is None or not outcome.startswith(RECOVERED):
            return None
        return self.antagonists.confirm(*known, now_s)

    def apart(self, user: str, job: str, now_s: float) -> Mapping[str, Antagonist]:
        """Agents to which the job should not go: there lives a production job that it has hurt, as the record says."""
        hurt = self.antagonists.hurt_by(user, job)
        if not hurt:
            return {}
        return {agent: hurt[name] for agent, name in self._residents.agents_with(hurt, now_s).items()}

    def agent_gone(self, agent_id: str) -> None:
        self._residents.forget(agent_id)

    def to_keep(self, now_s: float) -> tuple[list[JobCpi], list[SloPeriod]]:
        """Statistics that are to be stored now: none most of the time, then all that have changed, in parts."""
        if self._kept_at is None:
            self._kept_at = now_s
        if 0 <= now_s - self._kept_at < _KEPT_EVERY_S:
            return [], []
        jobs, periods = self._jobs.changed(_MOST_KEPT), self._services.changed(_MOST_KEPT)
        if len(jobs) < _MOST_KEPT and len(periods) < _MOST_KEPT:
            self._kept_at = now_s
        return [each for each in jobs if each.storable], [each for each in periods if each.storable]

    def services(self, now_s: float) -> tuple[slo.Service, ...]:
        return tuple(_status(each, now_s) for each in self._services.current(now_s))

    def confirmed(self) -> tuple[antagonists.Antagonist, ...]:
        """The antagonist that was confirmed last stands first."""
        return tuple(antagonists.Antagonist(**asdict(each)) for each in reversed(list(self.antagonists)))


def _status(service: Service, now_s: float) -> slo.Service:
    return slo.Service(
        framework=service.framework,
        service=service.name,
        indicator=service.indicator,
        unit=service.unit,
        better=service.better,
        objective=service.objective,
        now=service.now(now_s),
        met_last_hour=service.share_met(now_s, _HOUR_S),
        met_last_day=service.share_met(now_s),
        corrected_last_hour=service.corrections(now_s, _HOUR_S),
        corrected_last_day=service.corrections(now_s),
        history=tuple(
            slo.Period(start=each.start, measured_s=each.measured_s, met_s=each.met_s, corrections=each.corrections)
            for each in service.bins
        ),
    )
