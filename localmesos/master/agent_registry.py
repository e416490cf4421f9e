"""The master's side of an agent's life: registered, disconnected, back, unreachable, gone.

Parts of the master (`Master::reregisterSlave`, ``exited``, ``markUnreachable``, ``markGone`` of
``src/master/master.cpp``).

    registered ─► disconnected ─► unreachable ─► registered, its tasks with it
         │  ◄─────────┘                │
         └────────────────────► gone ◄─┘         and never taken back
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from serenity.localmesos import tasks
from serenity.localmesos.master import offering
from serenity.localmesos.master.state import AgentRecord, Executor, Framework
from serenity.localmesos.messages import (
    AgentRegistered,
    KillTask,
    RegisterAgent,
    ReregisterAgent,
    ShutdownAgent,
    ShutdownFramework,
    UpdateFramework,
)
from serenity.localmesos.tasks import Task
from serenity.wire.mesos.resources import Json, Resources

if TYPE_CHECKING:
    from serenity.localmesos.master.master import Master

logger = logging.getLogger(__name__)

GONE_MESSAGE = "Agent has been marked gone"


def register(master: Master, message: RegisterAgent) -> None:
    """Registers an agent for the first time."""
    agent = AgentRecord(message.agent_info, message.total, master.clock())
    master.agents[agent.agent_id] = agent
    master.tell(agent.agent_id, AgentRegistered())
    for framework in master.frameworks.values():
        master.tell(agent.agent_id, UpdateFramework(framework.info))
    master.allocate()


def reregister(master: Master, agent_id: str, message: ReregisterAgent) -> None:
    """Registers an agent again, which has recovered from its checkpoint."""
    if agent_id in master.gone:
        master.tell(agent_id, ShutdownAgent(GONE_MESSAGE))
        return
    for info in message.frameworks:
        _recover_framework(master, info)
    known = master.agents.get(agent_id)
    if known is None:
        _readmit(master, agent_id, message)
    else:
        _reconcile(master, known, message)
    for info in message.frameworks:
        framework = master.frameworks.get(info["id"]["value"])
        told = ShutdownFramework(info["id"]["value"]) if framework is None else UpdateFramework(framework.info)
        master.tell(agent_id, told)
    master.allocate()


def _recover_framework(master: Master, info: Json) -> None:
    """Adds a framework that this master does not know, unless it was torn down."""
    framework_id = info["id"]["value"]
    if framework_id not in master.frameworks and not master.has_completed(framework_id):
        framework = master.frameworks[framework_id] = Framework(info, registered_s=master.clock())
        framework.teardown_at_s = master.clock() + float(info.get("failover_timeout", 0.0))


def _readmit(master: Master, agent_id: str, message: ReregisterAgent) -> None:
    """Takes back an agent that was unreachable, or that this master never knew: its tasks are those that it names."""
    now_s = master.clock()
    agent = AgentRecord(message.agent_info, message.total, now_s, reregistered_s=now_s, providers=message.providers)
    was_unreachable = master.unreachable.pop(agent_id, None) is not None
    text = "Unreachable agent re-reregistered" if was_unreachable else "Unknown agent reregistered"
    for task in message.tasks:
        framework = master.frameworks.get(task.framework_id)
        if framework is None:
            continue  # The framework was torn down; the agent is told to shut it down.
        framework.unreachable_tasks.pop(task.task_id, None)
        framework.tasks[task.task_id] = task
        master.update(framework, _status(task, task.state, now_s, text, "REASON_AGENT_REREGISTERED"))
    for framework in master.frameworks.values():
        missing = [task for task in framework.unreachable_tasks.values() if task.agent_id == agent_id]
        for task in missing:  # The agent does not know them any more: reconciliation says so.
            del framework.unreachable_tasks[task.task_id]
    _take_executors(master, agent_id, message)
    master.agents[agent_id] = agent
    master.tell(agent_id, AgentRegistered())


def _reconcile(master: Master, agent: AgentRecord, message: ReregisterAgent) -> None:
    """The agent was only disconnected: what it knows and what the master knows are compared."""
    agent_id = agent.agent_id
    known = {(task.framework_id, task.task_id) for task in message.tasks}
    unknown = tuple(
        (framework.info, task.task_id)
        for framework in master.frameworks.values()
        for task in framework.tasks.values()
        if task.agent_id == agent_id and (framework.framework_id, task.task_id) not in known
    )
    agent.info, agent.own, agent.providers = message.agent_info, message.total, message.providers
    agent.reregistered_s, agent.disconnected_s = master.clock(), None
    _take_executors(master, agent_id, message)
    master.tell(agent_id, AgentRegistered(unknown))
    for task in message.tasks:
        if not task.terminal and (task.framework_id, task.task_id) in agent.killed:
            master.tell(agent_id, KillTask(task.framework_id, task.task_id, None))


def _take_executors(master: Master, agent_id: str, message: ReregisterAgent) -> None:
    """Takes exactly the executors that the agent names; nobody is told of the others."""
    for framework in master.frameworks.values():
        for key in [key for key in framework.executors if key[0] == agent_id]:
            del framework.executors[key]
    for info in message.executors:
        owner = master.frameworks.get(info["framework_id"]["value"])
        if owner is not None:
            resources = Resources.from_json(info.get("resources", []))
            owner.executors[agent_id, info["executor_id"]["value"]] = Executor(info, resources)


# -- away ----------------------------------------------------------------------------------


def disconnected(master: Master, agent_id: str) -> None:
    """Nothing of the agent is offered any more; frameworks that do not checkpoint lose their tasks and executors."""
    agent = master.agents.get(agent_id)
    if agent is None or not agent.connected:
        return
    agent.disconnected_s = master.clock()
    offering.withdraw(master, lambda offer: offer.agent_id == agent_id)
    text = f"Agent {agent.info['hostname']} disconnected"
    for framework in master.frameworks.values():
        if not framework.checkpoints:
            for task in _take_tasks(framework, agent_id):
                _conclude(master, framework, task, "TASK_LOST", text, "REASON_AGENT_DISCONNECTED")
                framework.completed_tasks.append(task)


def tick(master: Master) -> None:
    """Agents that have been disconnected for too long become unreachable."""
    latest_s = master.clock() - master.settings.agent_timeout_s
    for agent in list(master.agents.values()):
        if agent.disconnected_s is not None and agent.disconnected_s <= latest_s:
            mark_unreachable(master, agent.agent_id)


def mark_unreachable(master: Master, agent_id: str) -> None:
    """Marks an agent unreachable, as after too many unanswered pings."""
    if agent_id not in master.agents:
        return
    since_s = master.unreachable[agent_id] = master.clock()
    _remove(master, agent_id, "health check timed out", since_s)


def mark_gone(master: Master, agent_id: str) -> bool:
    """MARK_AGENT_GONE; False for an agent that the master does not know.  An agent may be marked twice."""
    if agent_id in master.gone:
        return True
    if agent_id not in master.agents and agent_id not in master.unreachable:
        return False
    master.gone[agent_id] = master.clock()
    master.unreachable.pop(agent_id, None)
    if agent_id in master.agents:
        _remove(master, agent_id, GONE_MESSAGE, None)
        master.tell(agent_id, ShutdownAgent(GONE_MESSAGE))
    return True


def _remove(master: Master, agent_id: str, text: str, unreachable_s: float | None) -> None:
    """`unreachable_s`: since when the agent is unreachable; None if it is gone."""
    del master.agents[agent_id]
    for framework in master.frameworks.values():
        aware = "PARTITION_AWARE" in framework.capabilities
        for task in _take_tasks(framework, agent_id):
            if aware and unreachable_s is None:
                state, reason = "TASK_GONE_BY_OPERATOR", "REASON_AGENT_REMOVED_BY_OPERATOR"
            else:
                state, reason = "TASK_UNREACHABLE" if aware else "TASK_LOST", "REASON_AGENT_REMOVED"
            _conclude(master, framework, task, state, text, reason, unreachable_s)
            if aware and unreachable_s is None:
                framework.completed_tasks.append(task)
            else:
                framework.unreachable_tasks[task.task_id] = task
    offering.withdraw(master, lambda offer: offer.agent_id == agent_id)
    for framework in master.frameworks.values():
        master.send(framework, "FAILURE", {"agent_id": {"value": agent_id}})


def _take_tasks(framework: Framework, agent_id: str) -> list[Task]:
    """Takes a framework's tasks off an agent, and its executors."""
    taken = [task for task in framework.tasks.values() if task.agent_id == agent_id]
    for task in taken:
        del framework.tasks[task.task_id]
    for key in [key for key in framework.executors if key[0] == agent_id]:
        del framework.executors[key]
    return taken


def _conclude(
    master: Master,
    framework: Framework,
    task: Task,
    state: str,
    text: str,
    reason: str,
    unreachable_s: float | None = None,
) -> None:
    status = _status(task, state, master.clock(), text, reason, unreachable_s)
    if not task.terminal:
        task.state = state
    task.record(status)
    master.update(framework, status)


def _status(task: Task, state: str, now_s: float, text: str, reason: str, unreachable_s: float | None = None) -> Json:
    status = tasks.status(
        task.task_id, state, now_s, "SOURCE_MASTER", text, reason,
        agent_id=task.agent_id, executor_id=task.executor_id, unreachable_s=unreachable_s,
    )  # fmt: skip
    if reason == "REASON_AGENT_REREGISTERED":
        status.update(task.container_status)
    return status
