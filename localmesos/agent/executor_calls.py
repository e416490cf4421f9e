"""The agent's side of the v1 executor API.  Part of the agent, in a module of its own; pure like it.

Sources: ``Http::executor`` in ``src/slave/http.cpp``, ``Slave::subscribe`` in ``src/slave/slave.cpp``,
``validateExecutorCall`` in ``src/common/validation.cpp``.
Fields and types have been checked before, by `protobuf_json`.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from serenity.localmesos import tasks
from serenity.localmesos.agent import task_launch
from serenity.localmesos.agent.state import AgentState, Executor, ExecutorState, Framework
from serenity.localmesos.messages import CallRefused, Close, MessageToFramework, Send
from serenity.wire.mesos.resources import Json

if TYPE_CHECKING:
    from serenity.localmesos.agent.agent import Agent

logger = logging.getLogger(__name__)

NOT_RECOVERED = "Agent has not finished recovery"


class ExecutorCalls:
    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def subscribe(self, stream_id: str, call: Mapping[str, Any]) -> None:
        """SUBSCRIBE, first or again; an executor that is ending gets SHUTDOWN and the stream's end.

        Raises:
            CallRefused
        """
        if "subscribe" not in call:
            raise _invalid("Expecting 'subscribe' to be present")
        framework, executor = self._sender(call)
        outbox = self._agent.outbox
        if executor.ending or framework.terminating:
            outbox.extend([Send(stream_id, {"type": "SHUTDOWN"}), Close(stream_id)])
            return
        if executor.stream_id is not None:
            outbox.append(Close(executor.stream_id))
        executor.state, executor.stream_id = ExecutorState.RUNNING, stream_id
        if not executor.ever_sent and not executor.queued:
            self._agent.shut_down(executor)  # Its only tasks were killed before it subscribed (MESOS-8411).
            return
        subscribed = {
            "executor_info": executor.info,
            "framework_info": framework.info,
            "agent_info": self._agent.settings.info,
            "container_id": {"value": executor.container_id},
        }
        self._agent.send(executor, "SUBSCRIBED", subscribed)
        for each in call["subscribe"].get("unacknowledged_updates", []):
            self._update(framework, executor, each["status"])
        self._drop_unknown(framework, executor, call["subscribe"].get("unacknowledged_tasks", []))
        if executor.queued:
            task_launch.publish_queued(self._agent, executor)

    def _drop_unknown(self, framework: Framework, executor: Executor, known: list[Json]) -> None:
        """Drops tasks that were sent while the connection broke, and that the executor has never seen."""
        known_ids = {task["task_id"]["value"] for task in known}
        for task in list(executor.launched.values()):
            if task.state == "TASK_STAGING" and task.task_id not in known_ids:
                state = tasks.state_for("TASK_DROPPED", framework.capabilities)
                text, reason = "Task launched during agent restart", "REASON_AGENT_RESTARTED"
                self._agent.make_update(framework, task.task_id, state, text, reason, executor.executor_id)

    def call(self, call: Mapping[str, Any]) -> None:
        """Any other call.

        Raises:
            CallRefused
        """
        kind = str(call["type"])
        if kind in ("UPDATE", "MESSAGE") and kind.lower() not in call:
            raise _invalid(f"Expecting '{kind.lower()}' to be present")
        if kind == "UPDATE":
            _validate(call, call["update"]["status"])
        if kind == "HEARTBEAT":
            return
        if self._agent.state is AgentState.RECOVERING:
            raise CallRefused(503, NOT_RECOVERED)
        framework, executor = self._sender(call)
        if executor.state is ExecutorState.REGISTERING:
            raise CallRefused(403, "Executor is not subscribed")
        if kind == "UPDATE":
            self._update(framework, executor, call["update"]["status"])
        elif kind == "MESSAGE":
            message = MessageToFramework(framework.framework_id, executor.executor_id, call["message"]["data"])
            self._agent.outbox.append(message)
        else:
            raise CallRefused(501, "501 Not Implemented.")

    def _sender(self, call: Mapping[str, Any]) -> tuple[Framework, Executor]:
        framework = self._agent.frameworks.get(call["framework_id"]["value"])
        if framework is None:
            raise CallRefused(400, "Framework cannot be found")
        executor = framework.executors.get(call["executor_id"]["value"])
        if executor is None:
            raise CallRefused(400, "Executor cannot be found")
        return framework, executor

    def _update(self, framework: Framework, executor: Executor, status: Json) -> None:
        """Passes an update on, completed by the agent, and acknowledges it: from now on the agent must keep it."""
        agent_id = {"value": self._agent.settings.agent_id}
        if status.get("agent_id", agent_id) != agent_id:
            logger.warning("update for agent %s, dropped", status["agent_id"])
            return
        passed_on = {**status, "agent_id": agent_id, "executor_id": {"value": executor.executor_id}}
        passed_on["source"] = "SOURCE_EXECUTOR"
        passed_on.setdefault("timestamp", self._agent.clock())
        passed_on["container_status"] = {
            "container_id": {"value": executor.container_id},
            "network_infos": [{"ip_addresses": [{"protocol": "IPv4", "ip_address": self._agent.settings.ip}]}],
            **({} if executor.pid is None else {"executor_pid": executor.pid}),
            **status.get("container_status", {}),
        }
        self._agent.update(framework, executor, passed_on)
        acknowledged = {"task_id": status["task_id"], "uuid": status["uuid"]}
        self._agent.send(executor, "ACKNOWLEDGED", acknowledged)


def _invalid(text: str) -> CallRefused:
    return CallRefused(400, f"Failed to validate Executor::Call: {text}")


def _validate(call: Mapping[str, Any], status: Json) -> None:
    sender = call["executor_id"]["value"]
    if "uuid" not in status:
        raise _invalid("Expecting 'uuid' to be present")
    if len(base64.b64decode(status["uuid"])) != 16:
        raise _invalid("Not a valid UUID")
    named = status.get("executor_id", call["executor_id"])["value"]
    if named != sender:
        raise _invalid(f"ExecutorID in Call: {sender} does not match ExecutorID in TaskStatus: {named}")
    origin = f"from executor {sender} of framework {call['framework_id']['value']}"
    if status.get("source") != "SOURCE_EXECUTOR":
        raise _invalid(f"Received Call {origin} with invalid source, expecting 'SOURCE_EXECUTOR'")
    if status["state"] == "TASK_STAGING":
        raise _invalid(f"Received TASK_STAGING {origin} which is not allowed")
