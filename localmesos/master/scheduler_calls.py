"""The v1 scheduler API: which calls are refused, and what the others do.  Part of the master; pure like it.

Sources: ``Master::Http::scheduler`` in ``src/master/http.cpp``, ``scheduler::call::validate`` in
``src/master/validation.cpp``.  Fields and types have been checked before, by `protobuf_json`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from serenity.localmesos import tasks
from serenity.localmesos.master import framework_validation, launching, offering
from serenity.localmesos.master.reconciliation import reconcile
from serenity.localmesos.master.state import Framework
from serenity.localmesos.messages import (
    AcknowledgeUpdate,
    CallRefused,
    KillTask,
    MessageToExecutor,
    ShutdownExecutor,
    UpdateFramework,
)
from serenity.wire.mesos.resources import Json

if TYPE_CHECKING:
    from serenity.localmesos.master.master import Master

_Handler = Callable[[Framework, Json], None]
# There are no inverse offers and no operations with feedback here, and requests for resources are
# ignored by Mesos itself.
_IGNORED = (
    "ACCEPT_INVERSE_OFFERS",
    "ACKNOWLEDGE_OPERATION_STATUS",
    "DECLINE_INVERSE_OFFERS",
    "RECONCILE_OPERATIONS",
    "REQUEST",
)
_WITHOUT_BODY = ("REVIVE", "SUPPRESS", "TEARDOWN")


class SchedulerCalls:
    def __init__(self, master: Master) -> None:
        self._master = master
        self._handlers: dict[str, _Handler] = {
            "ACCEPT": lambda framework, call: launching.accept(master, framework, call),
            "DECLINE": lambda framework, call: offering.decline(master, framework, call),
            "ACKNOWLEDGE": self._acknowledge,
            "KILL": self._kill,
            "RECONCILE": lambda framework, call: reconcile(master, framework, call),
            "SHUTDOWN": self._shutdown,
            "MESSAGE": self._message,
            "REVIVE": self._revive,
            "SUPPRESS": self._suppress,
            "TEARDOWN": lambda framework, _: master.remove(framework),
            "UPDATE_FRAMEWORK": self._update_framework,
            **dict.fromkeys(_IGNORED, lambda framework, call: None),
        }

    def subscribe(self, stream_id: str, call: Mapping[str, Any]) -> None:
        """SUBSCRIBE, first or again.  An impossible FrameworkInfo is refused by an ERROR event, as in Mesos.

        Raises:
            CallRefused
        """
        if "subscribe" not in call:
            raise _invalid("Expecting 'subscribe' to be present")
        subscribe: Json = call["subscribe"]
        if subscribe["framework_info"].get("id") != call.get("framework_id"):
            raise _invalid("'framework_id' differs from 'subscribe.framework_info.id'")
        self._master.subscribe_framework(stream_id, subscribe["framework_info"], subscribe.get("suppressed_roles", []))

    def call(self, stream_id: str | None, call: Mapping[str, Any]) -> None:
        """Any other call.

        Raises:
            CallRefused
        """
        kind = str(call["type"])
        if "framework_id" not in call:
            raise _invalid("Expecting 'framework_id' to be present")
        body = kind.lower()
        if body not in call and kind in self._handlers and kind not in _WITHOUT_BODY:
            raise _invalid(f"Expecting '{body}' to be present")
        if kind == "ACKNOWLEDGE" and len(base64.b64decode(call[body]["uuid"])) != 16:
            raise _invalid("Not a valid UUID")
        framework_id = call["framework_id"]["value"]
        if kind == "UPDATE_FRAMEWORK" and call[body]["framework_info"].get("id", {}).get("value") != framework_id:
            raise _invalid("'framework_id' differs from 'update_framework.framework_info.id'")
        framework = self._master.frameworks.get(framework_id)
        if framework is None:
            raise CallRefused(400, "Framework cannot be found")
        self._check_stream(framework, stream_id)
        if kind not in self._handlers:
            raise CallRefused(501, "501 Not Implemented.")  # UNKNOWN, on which Mesos 1.11 aborts.
        self._handlers[kind](framework, call.get(body, {}))

    def _check_stream(self, framework: Framework, stream_id: str | None) -> None:
        if framework.stream_id is None:
            raise CallRefused(403, "Framework is not subscribed")
        if stream_id is None:
            raise CallRefused(400, "All non-subscribe calls should include the 'Mesos-Stream-Id' header")
        if stream_id != framework.stream_id:
            raise CallRefused(
                400,
                f"The stream ID '{stream_id}' included in this request didn't match the stream ID "
                f"currently associated with framework ID {framework.framework_id}",
            )

    def _acknowledge(self, framework: Framework, call: Json) -> None:
        agent = self._master.agents.get(call["agent_id"]["value"])
        if agent is None or not agent.connected:
            return  # The agent sends the update again when it is back.
        task_id, update_uuid = call["task_id"]["value"], call["uuid"]
        task = framework.tasks.get(task_id)
        if task is not None and task.update_state is None:
            return  # It is for an update that this master has not sent; the agent sends that again.
        if task is not None and task.update_uuid == update_uuid and task.update_state in tasks.TERMINAL_STATES:
            framework.completed_tasks.append(framework.tasks.pop(task_id))
        self._master.tell(agent.agent_id, AcknowledgeUpdate(framework.framework_id, task_id, update_uuid))

    def _kill(self, framework: Framework, call: Json) -> None:
        task = framework.tasks.get(call["task_id"]["value"])
        if task is None:
            reconcile(self._master, framework, {"tasks": [call]})
        elif call.get("agent_id", {}).get("value", task.agent_id) == task.agent_id:
            self._master.agents[task.agent_id].killed.add((framework.framework_id, task.task_id))
            kill = KillTask(framework.framework_id, task.task_id, call.get("kill_policy"))
            self._master.tell(task.agent_id, kill)

    def _shutdown(self, framework: Framework, call: Json) -> None:
        agent_id = call["agent_id"]["value"]
        if agent_id in self._master.agents:
            shutdown = ShutdownExecutor(framework.framework_id, call["executor_id"]["value"])
            self._master.tell(agent_id, shutdown)

    def _message(self, framework: Framework, call: Json) -> None:
        agent_id = call["agent_id"]["value"]
        if agent_id in self._master.agents:
            executor_id = call["executor_id"]["value"]
            self._master.tell(agent_id, MessageToExecutor(framework.framework_id, executor_id, call["data"]))

    def _revive(self, framework: Framework, call: Json) -> None:
        """Revives some of the framework's roles, or all."""
        roles = call.get("roles") or framework.roles
        framework.suppressed.difference_update(roles)
        framework.filters = [each for each in framework.filters if each.role not in roles]
        self._master.allocate()

    def _suppress(self, framework: Framework, call: Json) -> None:
        framework.suppressed.update(call.get("roles") or framework.roles)

    def _update_framework(self, framework: Framework, call: Json) -> None:
        info: Json = call["framework_info"]
        suppressed = call.get("suppressed_roles", [])
        invalid = framework_validation.why_invalid(info, suppressed) or framework_validation.why_no_update(
            framework.info, info
        )
        if invalid is not None:
            raise CallRefused(400, f"FrameworkInfo update is not valid: {invalid}")
        framework.info, framework.suppressed = info, set(suppressed)
        roles = framework.roles
        offering.withdraw(
            self._master, lambda offer: offer.framework_id == framework.framework_id and offer.role not in roles
        )
        for agent_id in self._master.agents:
            self._master.tell(agent_id, UpdateFramework(info))


def _invalid(text: str) -> CallRefused:
    return CallRefused(400, f"Failed to validate scheduler::Call: {text}")
