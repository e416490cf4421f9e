"""A task as master and agent each know it, and the status messages about it.

Each keeps its own record: the master's is live until the terminal update is acknowledged, the
agent's stays with its executor.  Pure data; JSON is v1 (``include/mesos/v1/mesos.proto``).
"""

from __future__ import annotations

import base64
import dataclasses
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from serenity.wire.mesos.resources import Json, Resources

TERMINAL_STATES = frozenset(
    {
        "TASK_FINISHED",
        "TASK_FAILED",
        "TASK_KILLED",
        "TASK_ERROR",
        "TASK_LOST",
        "TASK_DROPPED",
        "TASK_GONE",
        "TASK_GONE_BY_OPERATOR",
    }
)
# States in place of which a framework without PARTITION_AWARE gets TASK_LOST.
_PARTITION_STATES = frozenset(
    {"TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR", "TASK_UNREACHABLE", "TASK_UNKNOWN"}
)
# Fields of TaskInfo that Task has too.
_SHARED_FIELDS = ("labels", "discovery", "container", "kill_policy", "health_check", "max_completion_time")
_NS_PER_S = 10**9


@dataclass(slots=True, eq=False)
class Task:
    """`state` is the latest known; `update_state` that of the last update sent, which can be older."""

    task_id: str
    name: str
    framework_id: str
    agent_id: str
    executor_id: str | None  # None for a command task: its executor has the task's id.
    resources: Resources
    state: str = "TASK_STAGING"
    update_state: str | None = None  # Of the last update forwarded to the framework,
    update_uuid: str | None = None  # and its uuid; both or none.
    statuses: list[Json] = field(default_factory=list)
    shared: Json = field(default_factory=dict)

    @classmethod
    def of(cls, info: Mapping[str, Any], framework_id: str) -> Task:
        executor = info.get("executor")
        return cls(
            task_id=info["task_id"]["value"],
            name=info.get("name", ""),
            framework_id=framework_id,
            agent_id=info["agent_id"]["value"],
            executor_id=None if executor is None else executor["executor_id"]["value"],
            resources=Resources.from_json(info["resources"]),
            shared={name: info[name] for name in _SHARED_FIELDS if name in info},
        )

    @classmethod
    def from_v1(cls, message: Mapping[str, Any]) -> Task:
        """What `to_v1` has written."""
        executor_id = message.get("executor_id")
        return cls(
            task_id=message["task_id"]["value"],
            name=message["name"],
            framework_id=message["framework_id"]["value"],
            agent_id=message["agent_id"]["value"],
            executor_id=None if executor_id is None else executor_id["value"],
            resources=Resources.from_json(message["resources"]),
            state=message["state"],
            update_state=message.get("status_update_state"),
            update_uuid=message.get("status_update_uuid"),
            statuses=list(message["statuses"]),
            shared={name: message[name] for name in _SHARED_FIELDS if name in message},
        )

    def snapshot(self) -> Task:
        """A copy that later updates do not change."""
        return dataclasses.replace(self, statuses=list(self.statuses))

    @property
    def terminal(self) -> bool:
        return self.state in TERMINAL_STATES

    @property
    def container_status(self) -> Json:
        """The field of the latest update that had it, in a message of its own; an empty message without any."""
        found = (each["container_status"] for each in reversed(self.statuses) if "container_status" in each)
        return next(({"container_status": each} for each in found), {})

    def record(self, status: Json) -> None:
        """Notes an update; of several in the same state only the last is kept, as in Mesos."""
        if self.statuses and self.statuses[-1]["state"] == status["state"]:
            self.statuses.pop()
        self.statuses.append({name: value for name, value in status.items() if name != "data"})

    def to_v1(self) -> Json:
        """The Task message of GET_TASKS."""
        return {
            "name": self.name,
            "task_id": {"value": self.task_id},
            "framework_id": {"value": self.framework_id},
            **({} if self.executor_id is None else {"executor_id": {"value": self.executor_id}}),
            "agent_id": {"value": self.agent_id},
            "state": self.state,
            "resources": self.resources.to_json(),
            "statuses": self.statuses,
            **({} if self.update_state is None else {"status_update_state": self.update_state}),
            **({} if self.update_uuid is None else {"status_update_uuid": self.update_uuid}),
            **self.shared,
        }


def status(
    task_id: str,
    state: str,
    now_s: float,
    source: str,
    message: str,
    reason: str,
    *,
    agent_id: str | None = None,
    executor_id: str | None = None,
    with_uuid: bool = False,
    unreachable_s: float | None = None,
) -> Json:
    """A TaskStatus that the master or the agent makes on its own behalf.

    Args:
        with_uuid: updates of the agent are acknowledged; those of the master are not and have none.
        unreachable_s: since when the task's agent is not reachable, if it is not.
    """
    return {
        "task_id": {"value": task_id},
        "state": state,
        "message": message,
        "source": source,
        "reason": reason,
        **({} if agent_id is None else {"agent_id": {"value": agent_id}}),
        **({} if executor_id is None else {"executor_id": {"value": executor_id}}),
        "timestamp": now_s,
        **({"uuid": new_uuid()} if with_uuid else {}),
        **({} if unreachable_s is None else {"unreachable_time": {"nanoseconds": round(unreachable_s * _NS_PER_S)}}),
    }


def new_uuid() -> str:
    """16 random bytes in base64: how v1 JSON writes a uuid in a bytes field."""
    return base64.b64encode(uuid.uuid4().bytes).decode()


def state_for(state: str, capabilities: frozenset[str]) -> str:
    """`state`, or TASK_LOST for a framework that does not know it."""
    if state in _PARTITION_STATES and "PARTITION_AWARE" not in capabilities:
        return "TASK_LOST"
    return state


def capabilities_of(framework_info: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(each.get("type", "") for each in framework_info.get("capabilities", []))


def roles_of(framework_info: Mapping[str, Any]) -> tuple[str, ...]:
    """The roles in `roles` with MULTI_ROLE, else the single `role`."""
    if "MULTI_ROLE" in capabilities_of(framework_info):
        return tuple(framework_info.get("roles", []))
    return (framework_info.get("role", "*"),)
