"""The master: frameworks subscribe, are offered what agents have, and launch on it.

A state machine without I/O.  Calls come from the scheduler API, messages from agents, time from
`tick`; what is to happen is appended to `outbox` and carried out by `embedded.EmbeddedMesos`.
It follows ``src/master/master.cpp``; where it knowingly does not, the method says so.
"""

from __future__ import annotations

import base64
import itertools
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from serenity.localmesos import launching, tasks
from serenity.localmesos.allocator import Candidate, Filter, Supply, allocate
from serenity.localmesos.master_state import MAX_COMPLETED_FRAMEWORKS, AgentRecord, Framework, Offer
from serenity.localmesos.messages import (
    AcknowledgeUpdate,
    CallRefused,
    Close,
    ExecutorExited,
    KillTask,
    MessageToExecutor,
    MessageToFramework,
    Outbox,
    RegisterAgent,
    Send,
    ShutdownExecutor,
    ShutdownFramework,
    ToMaster,
    UpdateFramework,
    UpdateProviders,
    UpdateStatus,
)
from serenity.wire.resources import Json, Resources

HEARTBEAT_S = 15.0
DEFAULT_REFUSE_S = 5.0  # Filters.refuse_seconds
MAX_REFUSE_S = 365 * 86400.0  # As in Mesos: an absurd value counts as this.


class Master:
    """One master with any number of agents (of which localmesos makes one)."""

    def __init__(self, info: Json, clock: Callable[[], float], allocation_interval_s: float) -> None:
        """`info` is the MasterInfo; `clock` gives Unix time that never goes back."""
        self.info = info
        self.master_id = str(info["id"])
        self.started_s = clock()
        self.frameworks: dict[str, Framework] = {}
        self.completed: deque[Framework] = deque(maxlen=MAX_COMPLETED_FRAMEWORKS)
        self.agents: dict[str, AgentRecord] = {}
        self.offers: dict[str, Offer] = {}
        self.outbox: Outbox = []
        self._clock = clock
        self._allocation_interval_s = allocation_interval_s
        self._allocate_at_s = 0.0
        self._framework_numbers = itertools.count()
        self._offer_numbers = itertools.count()

    # -- subscriptions -----------------------------------------------------------------

    def subscribe(self, stream_id: str, call: Mapping[str, Any]) -> None:
        """SUBSCRIBE, first or again.  What cannot be is said by an ERROR event, as Mesos does.

        Raises:
            CallRefused
        """
        info: Json = dict(call.get("subscribe", {}).get("framework_info", {}))
        if not info:
            raise CallRefused(400, "Failed to validate scheduler::Call: Expecting 'subscribe' to be present")
        framework_id = info.get("id", {}).get("value", "")
        if framework_id != call.get("framework_id", {}).get("value", ""):
            raise CallRefused(
                400,
                "Failed to validate scheduler::Call: 'framework_id' differs from 'subscribe.framework_info.id'",
            )
        if any(each.framework_id == framework_id for each in self.completed):
            self._reject(stream_id, "Framework has been removed")
            return
        framework = self.frameworks.get(framework_id)
        if framework is None:
            # An id that this master does not know is of a framework that knew another master.
            info["id"] = {"value": framework_id or f"{self.master_id}-{next(self._framework_numbers):04d}"}
            framework = self.frameworks[info["id"]["value"]] = Framework(info, registered_s=self._clock())
        else:
            self._fail_over(framework, info)
        framework.stream_id, framework.teardown_at_s = stream_id, None
        framework.suppressed = set(call["subscribe"].get("suppressed_roles", []))
        subscribed = {
            "framework_id": {"value": framework.framework_id},
            "heartbeat_interval_seconds": HEARTBEAT_S,
            "master_info": self.info,
        }
        self.send(framework, "SUBSCRIBED", subscribed)
        self.outbox.append(UpdateFramework(framework.info))
        self._allocate()

    def _fail_over(self, framework: Framework, info: Json) -> None:
        framework.reregistered_s = self._clock()
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
        """A scheduler is gone: its offers go at once, itself after its failover timeout."""
        for framework in self.frameworks.values():
            if framework.stream_id == stream_id:
                framework.stream_id = None
                framework.teardown_at_s = self._clock() + float(framework.info.get("failover_timeout", 0.0))
                self._withdraw_offers_of(framework)
                self._allocate()
                return

    def remove(self, framework: Framework) -> None:
        """TEARDOWN, or the failover timeout is over: its executors are shut down."""
        if framework.stream_id is not None:
            self.outbox.append(Close(framework.stream_id))
            framework.stream_id = None
        self._withdraw_offers_of(framework)
        now_s = self._clock()
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
        self.outbox.append(ShutdownFramework(framework.framework_id))
        self._allocate()

    # -- calls of the scheduler API ----------------------------------------------------

    def call(self, stream_id: str | None, call: Mapping[str, Any]) -> None:
        """Any call but SUBSCRIBE.

        Raises:
            CallRefused: as ``src/master/http.cpp`` answers it.
        """
        kind = call.get("type")
        handler, body = self._handler(kind)
        framework_id = call.get("framework_id", {}).get("value")
        if not framework_id:
            raise _invalid("Expecting 'framework_id' to be present")
        if body is not None and body not in call:
            raise _invalid(f"Expecting '{body}' to be present")
        framework = self.frameworks.get(framework_id)
        if framework is None:
            raise CallRefused(400, "Framework cannot be found")
        if framework.stream_id is None:
            raise CallRefused(403, "Framework is not subscribed")
        if stream_id is None:
            raise CallRefused(400, "All non-subscribe calls should include the 'Mesos-Stream-Id' header")
        if stream_id != framework.stream_id:
            raise CallRefused(
                400,
                f"The stream ID '{stream_id}' included in this request didn't match the stream ID "
                f"currently associated with framework ID {framework_id}",
            )
        handler(framework, call.get(body, {}) if body is not None else {})

    def _handler(self, kind: object) -> tuple[Callable[[Framework, Json], None], str | None]:
        """The method for a call, and the field that holds what it needs; None where that may be absent."""
        handlers: dict[object, tuple[Callable[[Framework, Json], None], str | None]] = {
            "ACCEPT": (self._accept, "accept"),
            "DECLINE": (self._decline, "decline"),
            "ACKNOWLEDGE": (self._acknowledge, "acknowledge"),
            "KILL": (self._kill, "kill"),
            "RECONCILE": (self._reconcile, "reconcile"),
            "SHUTDOWN": (self._shutdown, "shutdown"),
            "MESSAGE": (self._message, "message"),
            "REVIVE": (self._revive, None),
            "SUPPRESS": (self._suppress, None),
            "TEARDOWN": (lambda framework, _: self.remove(framework), None),
        }
        if kind not in handlers:
            raise _invalid("Expecting 'type' to be present")
        return handlers[kind]

    def _accept(self, framework: Framework, accept: Json) -> None:
        launching.accept(self, framework, accept, self._clock())
        self._allocate()

    def _decline(self, framework: Framework, decline: Json) -> None:
        for each in decline.get("offer_ids", []):
            offer = self.offers.get(each["value"])
            if offer is not None and offer.framework_id == framework.framework_id:
                del self.offers[offer.offer_id]
                self.refuse(framework, offer, offer.resources, decline.get("filters", {}))

    def refuse(self, framework: Framework, offer: Offer, unused: Resources, filters: Json) -> None:
        """Sets the filter that keeps what a framework did not want from being offered to it at once."""
        refuse_s = min(float(filters.get("refuse_seconds", DEFAULT_REFUSE_S)), MAX_REFUSE_S)
        if refuse_s <= 0 or not unused:
            return
        until_s = self._clock() + max(refuse_s, self._allocation_interval_s)
        framework.filters.append(Filter(offer.agent_id, offer.role, unused.without_field("allocation_info"), until_s))

    def _acknowledge(self, framework: Framework, acknowledge: Json) -> None:
        task_id, update_uuid = acknowledge["task_id"]["value"], acknowledge["uuid"]
        if len(_decoded(update_uuid)) != 16:
            raise _invalid("Not a valid UUID")
        task = framework.tasks.get(task_id)
        if task is not None and task.update_uuid == update_uuid and task.update_state in tasks.TERMINAL_STATES:
            framework.completed_tasks.append(framework.tasks.pop(task_id))
        self.outbox.append(AcknowledgeUpdate(framework.framework_id, task_id, update_uuid))

    def _kill(self, framework: Framework, kill: Json) -> None:
        task = framework.tasks.get(kill["task_id"]["value"])
        if task is None:
            self._reconcile(framework, {"tasks": [kill]})
        elif kill.get("agent_id", {}).get("value", task.agent_id) == task.agent_id:
            self.outbox.append(KillTask(framework.framework_id, task.task_id, kill.get("kill_policy")))

    def _reconcile(self, framework: Framework, reconcile: Json) -> None:
        asked = reconcile.get("tasks") or [{"task_id": {"value": task_id}} for task_id in framework.tasks]
        for each in asked:
            status = self._reconciled(framework, each["task_id"]["value"], each.get("agent_id", {}).get("value"))
            self.update(framework, status)

    def _reconciled(self, framework: Framework, task_id: str, agent_id: str | None) -> Json:
        task = framework.tasks.get(task_id)
        state, text = "TASK_UNKNOWN", "Reconciliation: Task is unknown"
        if task is not None:
            state, text = task.update_state or task.state, "Reconciliation: Latest task state"
        elif agent_id in self.agents:
            state, text = "TASK_GONE", "Reconciliation: Task is unknown to the agent"
        status = tasks.status(
            task_id,
            tasks.state_for(state, framework.capabilities),
            self._clock(),
            "SOURCE_MASTER",
            text,
            "REASON_RECONCILIATION",
            agent_id=task.agent_id if task is not None else agent_id,
            executor_id=task.executor_id if task is not None else None,
        )
        if task is not None and task.statuses and "container_status" in task.statuses[-1]:
            status["container_status"] = task.statuses[-1]["container_status"]
        return status

    def _shutdown(self, framework: Framework, shutdown: Json) -> None:
        if shutdown["agent_id"]["value"] in self.agents:
            self.outbox.append(ShutdownExecutor(framework.framework_id, shutdown["executor_id"]["value"]))

    def _message(self, framework: Framework, message: Json) -> None:
        if message["agent_id"]["value"] in self.agents:
            executor_id = message["executor_id"]["value"]
            self.outbox.append(MessageToExecutor(framework.framework_id, executor_id, message["data"]))

    def _revive(self, framework: Framework, revive: Json) -> None:
        framework.suppressed.clear()
        framework.filters.clear()
        self._allocate()

    def _suppress(self, framework: Framework, suppress: Json) -> None:
        framework.suppressed.update(framework.roles)

    # -- messages of agents ------------------------------------------------------------

    def receive(self, message: ToMaster) -> None:
        if isinstance(message, RegisterAgent):
            agent = AgentRecord(message.agent_info, message.total, self._clock())
            self.agents[agent.agent_id] = agent
        elif isinstance(message, UpdateProviders):
            self._update_providers(message)
        elif isinstance(message, UpdateStatus):
            self._update_status(message)
        elif isinstance(message, ExecutorExited):
            self._executor_exited(message)
        elif isinstance(message, MessageToFramework):
            framework = self.frameworks.get(message.framework_id)
            if framework is not None:
                body = {**self._origin(message.executor_id), "data": message.data}
                self.send(framework, "MESSAGE", body)
        self._allocate()

    def _update_providers(self, message: UpdateProviders) -> None:
        """Whatever changed, every offer with any provider's resources goes, as in Mesos."""
        if message.providers == self.agent.providers:
            return
        self.agent.providers = message.providers
        self._withdraw_offers(lambda offer: any(kind.provider_id is not None for kind in offer.resources.kinds))

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

    def _executor_exited(self, message: ExecutorExited) -> None:
        framework = self.frameworks.get(message.framework_id)
        if framework is None:
            return
        framework.executors.pop((self.agent.agent_id, message.executor_id), None)
        self.send(framework, "FAILURE", {**self._origin(message.executor_id), "status": message.wait_status})

    def _origin(self, executor_id: str) -> Json:
        return {"agent_id": {"value": self.agent.agent_id}, "executor_id": {"value": executor_id}}

    @property
    def agent(self) -> AgentRecord:
        """The one agent.  Messages name none, since there is none other yet."""
        return next(iter(self.agents.values()))

    # -- offers ------------------------------------------------------------------------

    def tick(self) -> None:
        """Time has passed: failover timeouts, filters, and an allocation every interval."""
        now_s = self._clock()
        for framework in list(self.frameworks.values()):
            if framework.teardown_at_s is not None and framework.teardown_at_s <= now_s:
                self.remove(framework)
            framework.filters = [each for each in framework.filters if each.until_s > now_s]
        if now_s >= self._allocate_at_s:
            self._allocate()

    def held_on(self, agent_id: str) -> list[Resources]:
        """What tasks, executors and outstanding offers take of an agent."""
        used = [framework.used(agent_id) for framework in self.frameworks.values()]
        return used + [offer.resources for offer in self.offers.values() if offer.agent_id == agent_id]

    def _allocate(self) -> None:
        now_s = self._clock()
        self._allocate_at_s = now_s + self._allocation_interval_s
        supplies = [Supply(each.agent_id, each.available(self.held_on(each.agent_id))) for each in self.agents.values()]
        cluster = Resources()
        for agent in self.agents.values():
            cluster += agent.total
        offered: dict[str, list[Json]] = {}
        for allocation in allocate(supplies, self._candidates(), cluster, now_s):
            offer_id = f"{self.master_id}-O{next(self._offer_numbers)}"
            offer = Offer(offer_id, allocation.framework_id, allocation.agent_id, allocation.role, allocation.resources)
            self.offers[offer_id] = offer
            offered.setdefault(allocation.framework_id, []).append(self.offer_json(offer))
        for framework_id, offers in offered.items():
            self.send(self.frameworks[framework_id], "OFFERS", {"offers": offers})

    def _candidates(self) -> list[Candidate]:
        return [
            Candidate(
                framework_id,
                role,
                "REVOCABLE_RESOURCES" in framework.capabilities,
                framework.used(),
                tuple(framework.filters),
            )
            for framework_id, framework in self.frameworks.items()
            if framework.connected
            for role in framework.roles
            if role not in framework.suppressed
        ]

    def _withdraw_offers_of(self, framework: Framework) -> None:
        self._withdraw_offers(lambda offer: offer.framework_id == framework.framework_id)

    def _withdraw_offers(self, affected: Callable[[Offer], bool]) -> None:
        """Takes offers back; a framework that is still there is told by RESCIND."""
        for offer in [offer for offer in self.offers.values() if affected(offer)]:
            del self.offers[offer.offer_id]
            self.send(self.frameworks[offer.framework_id], "RESCIND", {"offer_id": {"value": offer.offer_id}})

    def offer_json(self, offer: Offer) -> Json:
        agent = self.agents[offer.agent_id]
        hostname, port = agent.info["hostname"], agent.info["port"]
        executor_ids = self.frameworks[offer.framework_id].executors_on(offer.agent_id)
        return {
            "id": {"value": offer.offer_id},
            "framework_id": {"value": offer.framework_id},
            "agent_id": {"value": offer.agent_id},
            "hostname": hostname,
            "url": {
                "scheme": "http",
                "address": {"hostname": hostname, "ip": self.info["address"]["ip"], "port": port},
                "path": "/slave(1)",
            },
            "resources": offer.resources.to_json(),
            **({"executor_ids": [{"value": each} for each in executor_ids]} if executor_ids else {}),
            "allocation_info": {"role": offer.role},
        }

    # -- events ------------------------------------------------------------------------

    def update(self, framework: Framework, status: Json) -> None:
        self.send(framework, "UPDATE", {"status": status})

    def send(self, framework: Framework, kind: str, body: Json) -> None:
        """To a framework that is not connected nothing is sent; updates come again from the agent."""
        if framework.stream_id is not None:
            self.outbox.append(Send(framework.stream_id, {"type": kind, kind.lower(): body}))


def _invalid(text: str) -> CallRefused:
    return CallRefused(400, f"Failed to validate scheduler::Call: {text}")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""
