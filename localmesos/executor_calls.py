"""The agent's side of the v1 executor API.  Part of the agent, in a module of its own; pure like it.

Sources: ``Http::executor`` in ``src/slave/http.cpp``, ``Slave::subscribe`` in ``src/slave/slave.cpp``,
``validateExecutorCall`` in ``src/common/validation.cpp``.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from serenity.localmesos import tasks
from serenity.localmesos.agent_state import Executor, ExecutorState, Framework
from serenity.localmesos.messages import CallRefused, Close, MessageToFramework, Send
from serenity.wire.resources import Json

if TYPE_CHECKING:
    from serenity.localmesos.agent import Agent

logger = logging.getLogger(__name__)


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
        for each in call["subscribe"].get("unacknowledged_updates", []):
            self._update(framework, executor, each["status"])
        self._drop_unknown(framework, executor, call["subscribe"].get("unacknowledged_tasks", []))
        if not executor.ever_sent and not executor.queued:
            self._agent.shut_down(executor)  # Its only tasks were killed before it came (MESOS-8411).
            return
        subscribed = {
            "executor_info": executor.info,
            "framework_info": framework.info,
            "agent_info": self._agent.settings.info,
            "container_id": {"value": executor.container_id},
        }
        self._agent.send(executor, "SUBSCRIBED", subscribed)
        if executor.queued:
            self._agent.publish_queued(executor)

    def _drop_unknown(self, framework: Framework, executor: Executor, known: list[Json]) -> None:
        """Tasks that were sent while the connection broke, and that the executor has never seen."""
        known_ids = {task["task_id"]["value"] for task in known}
        for task in list(executor.launched.values()):
            if task.state == "TASK_STAGING" and task.task_id not in known_ids:
                status = tasks.status(
                    task.task_id,
                    tasks.state_for("TASK_DROPPED", framework.capabilities),
                    self._agent.clock(),
                    "SOURCE_AGENT",
                    "Task launched during agent restart",
                    "REASON_AGENT_RESTARTED",
                    agent_id=self._agent.settings.agent_id,
                    executor_id=executor.executor_id,
                    with_uuid=True,
                )
                self._agent.update(framework, executor, status)

    def call(self, call: Mapping[str, Any]) -> None:
        """UPDATE, MESSAGE and HEARTBEAT.

        Raises:
            CallRefused
        """
        kind = call.get("type")
        if kind == "HEARTBEAT":
            return
        if kind not in ("UPDATE", "MESSAGE"):
            raise _invalid("Expecting 'type' to be present")
        if str(kind).lower() not in call:
            raise _invalid(f"Expecting '{str(kind).lower()}' to be present")
        status: Json = call.get("update", {}).get("status", {})
        if kind == "UPDATE":
            self._validate(call, status)
        framework, executor = self._sender(call)
        if executor.state is ExecutorState.REGISTERING:
            raise CallRefused(403, "Executor is not subscribed")
        if kind == "UPDATE":
            self._update(framework, executor, status)
        else:
            message = MessageToFramework(framework.framework_id, executor.executor_id, call["message"]["data"])
            self._agent.outbox.append(message)

    def _sender(self, call: Mapping[str, Any]) -> tuple[Framework, Executor]:
        framework_id = call.get("framework_id", {}).get("value")
        executor_id = call.get("executor_id", {}).get("value")
        if executor_id is None:
            raise _invalid("Expecting 'executor_id' to be present")
        if framework_id is None:
            raise _invalid("Expecting 'framework_id' to be present")
        framework = self._agent.frameworks.get(framework_id)
        if framework is None:
            raise CallRefused(400, "Framework cannot be found")
        executor = framework.executors.get(executor_id)
        if executor is None:
            raise CallRefused(400, "Executor cannot be found")
        return framework, executor

    def _validate(self, call: Mapping[str, Any], status: Json) -> None:
        if "task_id" not in status or "state" not in status:
            raise _invalid("Expecting 'update.status' with 'task_id' and 'state'")
        if "uuid" not in status:
            raise _invalid("Expecting 'uuid' to be present")
        try:
            valid = len(base64.b64decode(status["uuid"], validate=True)) == 16
        except ValueError:
            valid = False
        if not valid:
            raise _invalid("Not a valid UUID")
        if status.get("executor_id", call.get("executor_id")) != call.get("executor_id"):
            raise _invalid("ExecutorID in Call does not match ExecutorID in TaskStatus")
        if status.get("source") != "SOURCE_EXECUTOR":
            raise _invalid(f"Received Call from executor with invalid source {status.get('source')}")
        if status["state"] == "TASK_STAGING":
            raise _invalid("Received TASK_STAGING from executor which is not allowed")

    def _update(self, framework: Framework, executor: Executor, status: Json) -> None:
        """Passes it on with what the agent knows, and acknowledges it: from now on it is the agent's to keep."""
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
