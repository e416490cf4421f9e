"""The master: frameworks subscribe, are offered what agents have, and launch on it.

A state machine without I/O.  Calls come from the scheduler API, messages from agents, time from
`tick`; what is to happen is appended to `outbox` and carried out by `embedded.EmbeddedMesos`.
It follows ``src/master/master.cpp``; where it knowingly does not, the method says so.

Its parts, in modules of their own: `scheduler_calls`, `launching`, `offering`, `reconciliation`,
`agent_registry`.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from serenity.localmesos import tasks
from serenity.localmesos.master import agent_registry, framework_validation, offering
from serenity.localmesos.master.scheduler_calls import SchedulerCalls
from serenity.localmesos.master.state import (
    MAX_COMPLETED_FRAMEWORKS,
    AgentRecord,
    Framework,
    MasterSettings,
    Offer,
)
from serenity.localmesos.messages import (
    Close,
    ExecutorExited,
    ForAgent,
    MessageToFramework,
    Outbox,
    RegisterAgent,
    ReregisterAgent,
    Send,
    ShutdownFramework,
    ToAgent,
    ToMaster,
    UpdateFramework,
    UpdateProviders,
    UpdateStatus,
)
from serenity.wire.mesos.resources import Json

HEARTBEAT_S = 15.0


class Master:
    """One master with any number of agents (of which localmesos makes one)."""

    def __init__(self, info: Json, clock: Callable[[], float], settings: MasterSettings) -> None:
        """`info` is the MasterInfo; `clock` gives Unix time that never goes back."""
        self.info = info
        self.master_id = str(info["id"])
        self.settings = settings
        self.clock = clock
        self.started_s = clock()
        self.frameworks: dict[str, Framework] = {}
        self.completed: deque[Framework] = deque(maxlen=MAX_COMPLETED_FRAMEWORKS)
        self.agents: dict[str, AgentRecord] = {}  # Registered; they may be disconnected.
        self.unreachable: dict[str, float] = {}  # Agent ids, since when.
        self.gone: dict[str, float] = {}
        self.offers: dict[str, Offer] = {}
        self.outbox: Outbox = []
        self._calls = SchedulerCalls(self)
        self._allocate_at_s = 0.0
        self._framework_numbers = itertools.count()
        self._offer_numbers = itertools.count()
        self._agent_numbers = itertools.count()

    # -- subscriptions -----------------------------------------------------------------

    def subscribe(self, stream_id: str, call: Mapping[str, Any]) -> None:
        """SUBSCRIBE of the scheduler API.  Raises CallRefused."""
        self._calls.subscribe(stream_id, call)

    def call(self, stream_id: str | None, call: Mapping[str, Any]) -> None:
        """Any other call of the scheduler API.  Raises CallRefused."""
        self._calls.call(stream_id, call)

    def subscribe_framework(self, stream_id: str, info: Json, suppressed_roles: Sequence[str]) -> None:
        """Subscribes a framework, for the first time or again; refuses by an ERROR event."""
        framework_id = info.get("id", {}).get("value", "")
        invalid = framework_validation.why_invalid(info, suppressed_roles)
        if invalid is None and self.has_completed(framework_id):
            invalid = "Framework has been removed"
        framework = self.frameworks.get(framework_id)
        if invalid is None and framework is not None:
            info = framework_validation.with_immutable_fields(framework.info, info)
            invalid = framework_validation.why_no_update(framework.info, info)
        if invalid is not None:
            self._reject(stream_id, invalid)
            return
        if framework is None:
            # A framework that brings an id unknown to this master was subscribed to another master before.
            framework_id = framework_id or f"{self.master_id}-{next(self._framework_numbers):04d}"
            info = {**info, "id": {"value": framework_id}}
            framework = self.frameworks[framework_id] = Framework(info, registered_s=self.clock())
        else:
            self._fail_over(framework, info)
        framework.stream_id, framework.teardown_at_s = stream_id, None
        framework.suppressed = set(suppressed_roles)
        subscribed = {
            "framework_id": {"value": framework.framework_id},
            "heartbeat_interval_seconds": HEARTBEAT_S,
            "master_info": self.info,
        }
        self.send(framework, "SUBSCRIBED", subscribed)
        self.outbox.append(Send(stream_id, {"type": "HEARTBEAT"}))  # Mesos' streams begin with one.
        for agent_id in self.agents:
            self.tell(agent_id, UpdateFramework(framework.info))
        self.allocate()

    def has_completed(self, framework_id: str) -> bool:
        return any(each.framework_id == framework_id for each in self.completed)

    def _fail_over(self, framework: Framework, info: Json) -> None:
        framework.reregistered_s = self.clock()
        framework.info = info
        framework.filters.clear()
        if framework.stream_id is not None:
            self._reject(framework.stream_id, "Framework failed over")
            framework.stream_id = None
        self._withdraw_offers_of(framework)

    def _reject(self, stream_id: str, message: str) -> None:
        self.outbox.append(Send(stream_id, {"type": "ERROR", "error": {"message": message}}))
        self.outbox.append(Close(stream_id))

    def stream_closed(self, stream_id: str) -> None:
        """A scheduler is gone: its offers are withdrawn at once, the framework goes after its failover timeout."""
        for framework in self.frameworks.values():
            if framework.stream_id == stream_id:
                framework.stream_id = None
                framework.teardown_at_s = self.clock() + float(framework.info.get("failover_timeout", 0.0))
                self._withdraw_offers_of(framework)
                return

    def remove(self, framework: Framework) -> None:
        """Removes a framework, on TEARDOWN or after its failover timeout: its executors are shut down."""
        if framework.stream_id is not None:
            self.outbox.append(Close(framework.stream_id))
            framework.stream_id = None
        self._withdraw_offers_of(framework)
        now_s = self.clock()
        for task in list(framework.tasks.values()):
            if not task.terminal:
                task.state = "TASK_KILLED"
                text, reason = f"Framework {framework.framework_id} removed", "REASON_FRAMEWORK_REMOVED"
                task.record(tasks.status(task.task_id, task.state, now_s, "SOURCE_MASTER", text, reason))
            framework.completed_tasks.append(task)
        framework.tasks.clear()
        framework.executors.clear()
        framework.ended_s = now_s
        del self.frameworks[framework.framework_id]
        self.completed.append(framework)
        for agent_id in self.agents:
            self.tell(agent_id, ShutdownFramework(framework.framework_id))

    # -- messages of agents ------------------------------------------------------------

    def receive(self, agent_id: str, message: ToMaster) -> None:
        if isinstance(message, RegisterAgent):
            agent_registry.register(self, message)
        elif isinstance(message, ReregisterAgent):
            agent_registry.reregister(self, agent_id, message)
        elif agent_id in self.agents:  # Messages of an agent that was given up do not count.
            self._receive(self.agents[agent_id], message)

    def _receive(self, agent: AgentRecord, message: ToMaster) -> None:
        if isinstance(message, UpdateProviders):
            self._update_providers(agent, message)
        elif isinstance(message, UpdateStatus):
            self._update_status(message)
        elif isinstance(message, ExecutorExited):
            self._executor_exited(agent, message)
        elif isinstance(message, MessageToFramework):
            framework = self.frameworks.get(message.framework_id)
            if framework is not None:
                self.send(framework, "MESSAGE", {**_origin(agent, message.executor_id), "data": message.data})

    def _update_providers(self, agent: AgentRecord, message: UpdateProviders) -> None:
        """Whatever has changed, all offers with resources of any provider are withdrawn, as in Mesos."""
        if message.providers == agent.providers:
            return
        agent.providers = message.providers
        offering.withdraw(self, lambda offer: any(kind.provider_id is not None for kind in offer.resources.kinds))
        self.allocate()

    def _update_status(self, message: UpdateStatus) -> None:
        framework = self.frameworks.get(message.framework_id)
        if framework is None:
            return
        status = message.status
        self.update(framework, status)
        task = framework.tasks.get(status["task_id"]["value"])
        if task is None:
            return
        task.update_state, task.update_uuid = status["state"], status["uuid"]
        if not task.terminal:
            task.state = message.latest_state
        task.record(status)

    def _executor_exited(self, agent: AgentRecord, message: ExecutorExited) -> None:
        framework = self.frameworks.get(message.framework_id)
        if framework is None:
            return
        framework.executors.pop((agent.agent_id, message.executor_id), None)
        self.send(framework, "FAILURE", {**_origin(agent, message.executor_id), "status": message.wait_status})

    def agent_disconnected(self, agent_id: str) -> None:
        """The connection to an agent is broken."""
        agent_registry.disconnected(self, agent_id)

    # -- time, offers, events ----------------------------------------------------------

    def tick(self) -> None:
        """Time has passed: timeouts of frameworks, agents, offers and filters, and an allocation every interval."""
        now_s = self.clock()
        for framework in list(self.frameworks.values()):
            if framework.teardown_at_s is not None and framework.teardown_at_s <= now_s:
                self.remove(framework)
            framework.filters = [each for each in framework.filters if each.until_s > now_s]
        agent_registry.tick(self)
        offering.expire(self)
        if now_s >= self._allocate_at_s:
            self.allocate()

    def allocate(self) -> None:
        """Called when there is something new to offer; what only comes free waits for the interval, as in Mesos."""
        self._allocate_at_s = self.clock() + self.settings.allocation_interval_s
        offering.offer_all(self)

    def _withdraw_offers_of(self, framework: Framework) -> None:
        offering.withdraw(self, lambda offer: offer.framework_id == framework.framework_id)

    def next_offer_id(self) -> str:
        return f"{self.master_id}-O{next(self._offer_numbers)}"

    def next_agent_id(self) -> str:
        """The id of a new agent.  Mesos gives it out with the registration; here the agent has it before."""
        return f"{self.master_id}-S{next(self._agent_numbers)}"

    def tell(self, agent_id: str, message: ToAgent) -> None:
        """Sends a message to an agent, unless that is disconnected."""
        agent = self.agents.get(agent_id)
        if agent is None or agent.connected:
            self.outbox.append(ForAgent(agent_id, message))

    def update(self, framework: Framework, status: Json) -> None:
        self.send(framework, "UPDATE", {"status": status})

    def send(self, framework: Framework, kind: str, body: Json) -> None:
        """Sends an event to a framework, if that is connected; updates the agent sends again later."""
        if framework.stream_id is not None:
            self.outbox.append(Send(framework.stream_id, {"type": kind, kind.lower(): body}))


def _origin(agent: AgentRecord, executor_id: str) -> Json:
    return {"agent_id": {"value": agent.agent_id}, "executor_id": {"value": executor_id}}
