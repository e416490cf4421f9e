"""One agent, as the roll-out of estimators knows it."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from serenity.framework.estimators.task import TaskId
from serenity.wire.mesos.resources import Json
from serenity.wire.messages.node import ANOTHER_ESTIMATOR

# After a bad end it is tried again after so long, then twice as long, and so on.
_FIRST_PAUSE_S = 10.0
_LONGEST_PAUSE_S = 3600.0
# An estimator that has refused to run there will refuse again until somebody has done something about it.
_REFUSED_PAUSE_S = 300.0
# An estimator that ran for so long has not ended for the reason of the last time.
_RAN_WELL_S = 600.0
# By then the slack of an estimator that has ended is out of the master's sum.
_SLACK_LINGERS_S = 10.0
# As mesos-executor words the estimator's exit with 4, "refused": another one is there, or the agent is unfit.
_REFUSED = re.compile(r"exited with status 4\b")


class State(enum.StrEnum):
    LAUNCHING = "launching"
    RUNNING = "running"
    KILLING = "killing"
    AWAY = "away"  # The master has lost sight of it, with its agent.


@dataclass(frozen=True, slots=True)
class Deployed:
    """An estimator that was launched and is not known to have ended: what the store keeps of it."""

    agent_id: str
    hostname: str
    task_id: str


@dataclass(frozen=True, slots=True)
class AgentSeen:
    """What the master says of an agent.  `reserved_*`: for estimators, used or not."""

    agent_id: str
    hostname: str
    active: bool
    has_slack: bool
    reserved_cpus: float
    reserved_mem_mb: float

    @classmethod
    def from_json(cls, agent: Json, role: str) -> AgentSeen:
        """An agent of the master's ``/slaves``.  Raises KeyError for what is no agent."""
        total, reserved = agent.get("resources", {}), agent.get("reserved_resources", {}).get(role, {})
        return cls(
            agent_id=agent["id"],
            hostname=agent["hostname"],
            active=bool(agent.get("active", True)),
            has_slack=float(total.get("cpus_revocable", 0.0)) > 0 or float(total.get("mem_revocable", 0.0)) > 0,
            reserved_cpus=float(reserved.get("cpus", 0.0)),
            reserved_mem_mb=float(reserved.get("mem", 0.0)),
        )


@dataclass(slots=True)
class Agent:
    """Times are monotonic seconds."""

    id: str
    hostname: str
    url: str | None = None  # From its last offer.
    task: TaskId | None = None  # Ours, which lives as far as is known.
    state: State = State.LAUNCHING
    since_s: float = 0.0  # In that state.
    heard: bool = False  # Mesos has told of the task since this process began.
    version: str | None = None  # Of the task, or of the last one.
    ended_s: float | None = None  # When our last task there did.
    killed: TaskId | None = None  # The task whose end we have asked for.
    upgrading: bool = False  # Its estimator has to be back before another agent's turn comes.
    slack_expected: bool = False  # There was slack before the upgrade.
    well_since_s: float | None = None
    settled: bool = False
    failures: int = 0
    not_before_s: float = 0.0
    why: str = ""  # Why the last task ended badly; empty once one has settled.
    words: str | None = None  # That task's last line on stderr; None: not looked for.
    failed_task: TaskId | None = None
    seen: AgentSeen | None = None
    seen_at_s: float = 0.0  # When the master was asked.

    def launched(self, task: TaskId, monotonic_s: float) -> None:
        self.task, self.version, self.heard = task, task.version, False
        self.settled, self.well_since_s = False, None
        self.state, self.since_s = State.LAUNCHING, monotonic_s  # Not by `enter`: the last one may have ended in it.

    def enter(self, state: State, monotonic_s: float) -> None:
        if state is not self.state:
            self.state, self.since_s = state, monotonic_s
            self.well_since_s = None

    def ended(self, message: str, monotonic_s: float, *, badly: bool, pause_s: float = 0.0) -> None:
        """`badly`: for a reason of its own, so that it may happen again."""
        ran_s = monotonic_s - self.since_s if self.state is State.RUNNING else 0.0
        failed, self.task, self.ended_s = self.task, None, monotonic_s
        self.settled, self.well_since_s = False, None
        self.not_before_s = monotonic_s + pause_s
        if not badly:
            return
        self.failures = 1 if ran_s >= _RAN_WELL_S else self.failures + 1
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self.failures - 1, 16))
        if _REFUSED.search(message):
            pause_s = max(pause_s, _REFUSED_PAUSE_S)
        self.not_before_s = monotonic_s + pause_s
        self.why, self.words, self.failed_task = message, None, failed

    def judge(self, wanted: str, settle_s: float) -> None:
        """Whether the task does well, and for how long, by the looks: it runs, and what slack there was is back."""
        if self.task is None or self.task.version != wanted or self.settled:
            return
        well = self.state is State.RUNNING and self.heard and self._slack_is_back
        self.well_since_s = (self.well_since_s or self.seen_at_s) if well else None
        if self.well_since_s is not None and self.seen_at_s - self.well_since_s >= settle_s:
            self.settled, self.upgrading, self.slack_expected = True, False, False
            self.failures, self.why = 0, ""

    @property
    def reported_by_others(self) -> bool:
        """Whether the agent has slack, and none of our estimators: as of a look after the end of our last one."""
        if self.task is not None or self.seen is None or not self.seen.has_slack:
            return False
        return self.ended_s is None or self.seen_at_s > self.ended_s + _SLACK_LINGERS_S

    def lacks_room(self, cpus: float, mem_mb: float) -> bool:
        """Whether less than that is reserved for estimators, as far as is known."""
        return self.seen is None or self.seen.reserved_cpus < cpus or self.seen.reserved_mem_mb < mem_mb

    @property
    def foreign(self) -> bool:
        """Whether somebody else's estimator is there, with slack or without."""
        found_taken = self.task is None and bool(self.why) and (self.words or "").startswith(ANOTHER_ESTIMATOR)
        return found_taken or self.reported_by_others

    @property
    def unexplained(self) -> bool:
        """Whether its last task ended badly, and that task's last words have not been looked for."""
        return bool(self.why) and self.words is None and self.failed_task is not None and self.url is not None

    @property
    def _slack_is_back(self) -> bool:
        fresh = self.seen is not None and self.seen_at_s > self.since_s
        return fresh and self.seen is not None and (self.seen.has_slack or not self.slack_expected)
