"""Why a best-effort task ended: an enum of reasons, each with a text, who pays, and how long to avoid the agent."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Payer(enum.Enum):
    JOB = "job"  # Counts against the job's --max-retries.
    NOBODY = "nobody"  # The platform took the task away: retried for free.


@dataclass(frozen=True, slots=True)
class _Meaning:
    text: str
    payer: Payer
    avoid_s: float  # How long the job avoids the agent; 0: not at all.


class Reason(enum.Enum):
    """A reason's code is its member name, as kill records and the command line show it."""

    QOS_CPU = _Meaning("production on the agent was waiting for CPU", Payer.NOBODY, 300.0)
    QOS_CACHE = _Meaning("production on the agent was losing its cache", Payer.NOBODY, 300.0)
    QOS_MEMORY_BANDWIDTH = _Meaning("memory bandwidth on the agent was exhausted", Payer.NOBODY, 300.0)
    QOS_MEMORY = _Meaning("memory on the agent was running out", Payer.NOBODY, 300.0)
    QOS_IO = _Meaning("production on the agent was waiting for its disk", Payer.NOBODY, 300.0)
    QOS_SLO = _Meaning("a production service was missing its objective", Payer.NOBODY, 300.0)
    QOS_OVERLOAD = _Meaning("the agent as a whole was overloaded", Payer.NOBODY, 120.0)
    QOS_UNKNOWN = _Meaning("production on the agent was suffering, from what could not be told", Payer.NOBODY, 120.0)
    MEMORY_LIMIT = _Meaning("the task used more memory than it had asked for", Payer.JOB, 0.0)
    DISK_LIMIT = _Meaning("the task used more disk than it had asked for", Payer.JOB, 0.0)
    MAX_RUNTIME = _Meaning("the task ran for longer than its --max-runtime", Payer.JOB, 0.0)
    KILLED_BY_USER = _Meaning("killed on request", Payer.NOBODY, 0.0)
    LAUNCH_REFUSED = _Meaning("the agent took no new best-effort task just then", Payer.NOBODY, 10.0)
    LAUNCH_FAILED = _Meaning("the command could not be started", Payer.JOB, 0.0)
    COMMAND_FAILED = _Meaning("the command exited with an error", Payer.JOB, 0.0)
    COMMAND_SIGNALED = _Meaning("the command was ended by a signal that Serenity did not send", Payer.JOB, 0.0)
    EXECUTOR_LOST = _Meaning("the executor on the agent ended, and its tasks with it", Payer.NOBODY, 10.0)
    AGENT_LOST = _Meaning("the agent was lost", Payer.NOBODY, 60.0)
    AGENT_DRAINING = _Meaning("the agent is being drained for maintenance", Payer.NOBODY, 600.0)
    PREEMPTED_BY_MESOS = _Meaning("Mesos took the revocable resources back", Payer.NOBODY, 60.0)
    LOST = _Meaning("Mesos does not know the task any more", Payer.NOBODY, 0.0)

    @property
    def code(self) -> str:
        return self.name

    @property
    def text(self) -> str:
        return self.value.text

    @property
    def payer(self) -> Payer:
        return self.value.payer

    @property
    def avoid_s(self) -> float:
        return self.value.avoid_s

    @property
    def by_qos(self) -> bool:
        """Whether Serenity itself took the task away, for production's sake."""
        return self.name.startswith("QOS_")


# The reason of an eviction, by the cause that a detector names.
REASON_OF_CAUSE = {
    "cpu": Reason.QOS_CPU,
    "llc": Reason.QOS_CACHE,
    "memory_bandwidth": Reason.QOS_MEMORY_BANDWIDTH,
    "memory": Reason.QOS_MEMORY,
    "io": Reason.QOS_IO,
    "slo": Reason.QOS_SLO,
    "overload": Reason.QOS_OVERLOAD,
    "unknown": Reason.QOS_UNKNOWN,
}
