"""What the master remembers: frameworks, agents, offers.  Pure data with the sums over it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from serenity.localmesos.master.allocator import Filter, remaining
from serenity.localmesos.messages import ProviderState
from serenity.localmesos.tasks import Task, capabilities_of, roles_of
from serenity.wire.mesos.resources import Json, Resources

MAX_COMPLETED_TASKS = 1000  # --max_completed_tasks_per_framework
MAX_COMPLETED_FRAMEWORKS = 50


@dataclass(frozen=True, slots=True)
class Offer:
    offer_id: str
    framework_id: str
    agent_id: str
    role: str
    resources: Resources  # With allocation_info.
    made_s: float


@dataclass(slots=True, eq=False)
class Executor:
    """An executor that runs on an agent, command executors left out: those are the agent's own matter."""

    info: Json
    resources: Resources


@dataclass(slots=True, eq=False)
class Framework:
    info: Json
    registered_s: float
    reregistered_s: float | None = None
    stream_id: str | None = None  # None: not connected.
    teardown_at_s: float | None = None  # When it is given up, if it is disconnected.
    ended_s: float | None = None
    suppressed: set[str] = field(default_factory=set)  # Roles that want no offers.
    filters: list[Filter] = field(default_factory=list)
    tasks: dict[str, Task] = field(default_factory=dict)  # Until the terminal update is acknowledged.
    executors: dict[tuple[str, str], Executor] = field(default_factory=dict)  # By agent and executor id.
    completed_tasks: deque[Task] = field(default_factory=lambda: deque(maxlen=MAX_COMPLETED_TASKS))
    unreachable_tasks: dict[str, Task] = field(default_factory=dict)  # Of agents that are away, until those are back.

    @property
    def framework_id(self) -> str:
        return str(self.info["id"]["value"])

    @property
    def connected(self) -> bool:
        return self.stream_id is not None

    @property
    def checkpoints(self) -> bool:
        return bool(self.info.get("checkpoint"))

    @property
    def capabilities(self) -> frozenset[str]:
        return capabilities_of(self.info)

    @property
    def roles(self) -> tuple[str, ...]:
        return roles_of(self.info)

    def used(self, agent_id: str | None = None) -> Resources:
        """What its tasks and executors hold, on one agent or on all."""
        tasks = (t.resources for t in self.tasks.values() if not t.terminal and agent_id in (None, t.agent_id))
        executors = (e.resources for (on, _), e in self.executors.items() if agent_id in (None, on))
        return Resources.total((*tasks, *executors))

    def executors_on(self, agent_id: str) -> dict[str, Json]:
        """ExecutorInfos by executor id."""
        return {eid: executor.info for (on, eid), executor in self.executors.items() if on == agent_id}


@dataclass(slots=True, eq=False)
class AgentRecord:
    """An agent that is registered."""

    info: Json
    own: Resources  # Without the resources of providers.
    registered_s: float
    reregistered_s: float | None = None
    disconnected_s: float | None = None  # Since when, if it is.
    providers: Mapping[str, ProviderState] = field(default_factory=dict)
    killed: set[tuple[str, str]] = field(default_factory=set)  # Framework and task ids, in case it missed the kills.

    @property
    def agent_id(self) -> str:
        return str(self.info["id"]["value"])

    @property
    def connected(self) -> bool:
        return self.disconnected_s is None

    @property
    def total(self) -> Resources:
        total = self.own
        for provider in self.providers.values():
            total += provider.total
        return total

    def available(self, held: Iterable[Resources]) -> Resources:
        """What nobody holds, without allocation_info."""
        taken = Resources()
        for each in held:
            taken += each.without_field("allocation_info")
        return remaining(self.total, taken)


@dataclass(frozen=True, slots=True)
class MasterSettings:
    """The flags of mesos-master that localmesos follows, with mesos-master's defaults."""

    allocation_interval_s: float = 1.0
    offer_timeout_s: float | None = None  # None: offers do not expire.
    agent_ping_timeout_s: float = 15.0
    max_agent_ping_timeouts: int = 5

    @property
    def agent_timeout_s(self) -> float:
        """How long an agent may be away before it is unreachable."""
        return self.agent_ping_timeout_s * self.max_agent_ping_timeouts
