"""What a round changes of the store, and what a framework that starts learns from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from serenity.framework.cluster.antagonists import Antagonist
from serenity.framework.cluster.kept import JobCpi, SloPeriod
from serenity.framework.estimators.agent import Deployed
from serenity.framework.jobs.job import Attempt, Job
from serenity.framework.placement.agents import Executor
from serenity.framework.placement.cooldowns import Cooldown
from serenity.framework.placement.holds import Hold
from serenity.wire.messages import api
from serenity.wire.messages.corrections import Outcome


@dataclass(slots=True)
class Changes:
    """What one round of decisions has changed; later values of a key replace earlier ones."""

    framework_id: str | None = None  # "": Mesos has removed it.
    jobs: dict[str, api.Job] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)  # By task id.
    # Task ids whose instance has a newer attempt.  It says something of `attempts`; alone it is no change.
    superseded: set[str] = field(default_factory=set, compare=False)
    executors: dict[tuple[str, str], Executor] = field(default_factory=dict)
    executors_gone: set[tuple[str, str]] = field(default_factory=set)
    outcomes: dict[str, Outcome] = field(default_factory=dict)  # Of evictions whose records are stored; by task id.
    cooldowns: dict[tuple[str, str], Cooldown] = field(default_factory=dict)
    cooldowns_over: set[tuple[str, str]] = field(default_factory=set)
    holds: dict[str, Hold] = field(default_factory=dict)  # By agent id.
    holds_over: set[str] = field(default_factory=set)
    estimators: dict[str, Deployed] = field(default_factory=dict)  # By agent id.
    estimators_gone: set[str] = field(default_factory=set)
    antagonists: dict[tuple[str, str, str], Antagonist] = field(default_factory=dict)
    antagonists_over: set[tuple[str, str, str]] = field(default_factory=set)
    job_cpi: dict[tuple[str, str], JobCpi] = field(default_factory=dict)
    slo_periods: dict[tuple[str, str, float], SloPeriod] = field(default_factory=dict)
    # Rows of these two from before these times are deleted; seconds since the epoch.
    statistics_over: tuple[float, float] | None = None
    events: list[api.Event] = field(default_factory=list)

    def __bool__(self) -> bool:
        return self != Changes()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a framework that starts must know: everything that has not ended."""

    framework_id: str | None
    last_job_id: str | None
    last_event_id: int
    jobs: tuple[tuple[Job, int], ...]  # With the number of kills.
    attempts: tuple[Attempt, ...]  # The current ones of these jobs.
    executors: tuple[Executor, ...]
    cooldowns: tuple[Cooldown, ...]
    holds: tuple[Hold, ...] = ()
    estimators: tuple[Deployed, ...] = ()
    antagonists: tuple[Antagonist, ...] = ()
    job_cpi: tuple[JobCpi, ...] = ()
    slo_periods: tuple[SloPeriod, ...] = ()
