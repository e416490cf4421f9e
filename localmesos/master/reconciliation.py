"""RECONCILE: what the master knows of a framework's tasks (``Master::reconcile``).  Parts of the master."""

from __future__ import annotations

from typing import TYPE_CHECKING

from serenity.localmesos import tasks
from serenity.localmesos.master.state import Framework
from serenity.wire.mesos.resources import Json

if TYPE_CHECKING:
    from serenity.localmesos.master.master import Master


def reconcile(master: Master, framework: Framework, call: Json) -> None:
    """Answers for each task that the framework names; for all its tasks if it names none."""
    asked = call.get("tasks") or [{"task_id": {"value": task_id}} for task_id in framework.tasks]
    for each in asked:
        agent_id = each.get("agent_id", {}).get("value")
        master.update(framework, _answer(master, framework, each["task_id"]["value"], agent_id))


def _answer(master: Master, framework: Framework, task_id: str, agent_id: str | None) -> Json:
    task = framework.tasks.get(task_id)
    if task is not None:
        state, text = task.update_state or task.state, "Latest task state"
    elif agent_id in master.agents:
        state, text = "TASK_GONE", "Task is unknown to the agent"
    elif agent_id in master.unreachable:
        state, text = "TASK_UNREACHABLE", "Task is unreachable"
    elif agent_id in master.gone:
        state, text = "TASK_GONE_BY_OPERATOR", "Task is gone"
    else:
        state, text = "TASK_UNKNOWN", "Task is unknown"
    status = tasks.status(
        task_id,
        tasks.state_for(state, framework.capabilities),
        master.clock(),
        "SOURCE_MASTER",
        f"Reconciliation: {text}",
        "REASON_RECONCILIATION",
        agent_id=task.agent_id if task is not None else agent_id,
        executor_id=task.executor_id if task is not None else None,
        unreachable_s=None if task is not None else master.unreachable.get(agent_id or ""),
    )
    return status if task is None else status | task.container_status
