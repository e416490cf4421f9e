"""How an agent begins: from nothing, or from what an earlier one has checkpointed.  Parts of the agent; pure like it.

``Slave::recover``, ``_recover``, ``reregisterExecutorTimeout`` and ``reregistered`` in ``src/slave/slave.cpp``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from serenity.localmesos import tasks
from serenity.localmesos.agent import executor_launch
from serenity.localmesos.agent.checkpoint import Recovered
from serenity.localmesos.agent.state import AgentState, ExecutorState, Framework, Termination, living
from serenity.localmesos.messages import (
    AgentRegistered,
    RecoverContainers,
    RecoveredContainer,
    RegisterAgent,
    ReregisterAgent,
    UpdateProviders,
)

if TYPE_CHECKING:
    from serenity.localmesos.agent.agent import Agent


def begin(agent: Agent, recovered: Recovered | None) -> None:
    """Recovered executors have some time to come back; only then does the agent reregister with the master."""
    agent.checkpoints.agent(agent.settings.info)
    if recovered is None:
        agent.outbox.append(RecoverContainers(()))
        agent.outbox.append(RegisterAgent(agent.settings.info, agent.settings.resources))
        return
    agent.state = AgentState.RECOVERING
    agent.frameworks.update(recovered.frameworks)
    alive = [
        RecoveredContainer(executor.container_id, executor.sandbox, executor.pid)
        for _, executor in living(agent.frameworks)
        if executor.pid is not None
    ]
    agent.outbox.append(RecoverContainers(tuple(alive)))
    for framework, executor in living(agent.frameworks):
        if executor.pid is None:  # The agent was killed before it had checkpointed a pid.
            text = "Abnormal executor termination: unknown container"
            executor.termination = Termination("TASK_FAILED", "REASON_EXECUTOR_TERMINATED", text)
            agent.terminated(framework, executor, None)
    if agent.empty:
        _reregister(agent)


def finish(agent: Agent) -> None:
    """The time is over: executors that are not back by now are killed."""
    timeout = executor_launch.mesos_duration(agent.settings.executor_reregistration_timeout_s)
    for framework, executor in living(agent.frameworks):
        if executor.state is ExecutorState.REGISTERING:
            executor.termination = Termination(
                tasks.state_for("TASK_GONE", framework.capabilities),
                "REASON_EXECUTOR_REREGISTRATION_TIMEOUT",
                f"Executor did not reregister within {timeout}",
            )
            agent.destroy(executor)
    _reregister(agent)


def _reregister(agent: Agent) -> None:
    agent.state = AgentState.REGISTERING
    executors = [executor for framework in agent.frameworks.values() for executor in framework.executors.values()]
    message = ReregisterAgent(
        agent.settings.info,
        agent.settings.resources,
        frameworks=tuple(framework.info for framework in agent.frameworks.values()),
        executors=tuple(executor.info for _, executor in living(agent.frameworks) if not executor.for_command_task),
        tasks=tuple(
            task.snapshot()
            for executor in executors
            for task in (*executor.launched.values(), *executor.terminated.values())
        ),
        providers=agent.providers.states,
    )
    agent.outbox.append(message)


def registered(agent: Agent, message: AgentRegistered) -> None:
    """The master has registered the agent: updates go out again, and tasks that it asked about are answered."""
    agent.state = AgentState.RUNNING
    # Providers may have changed since the registration was sent.
    agent.outbox.append(UpdateProviders(agent.providers.states))
    for info, task_id in message.unknown_tasks:
        framework = agent.frameworks.get(info["id"]["value"])
        if framework is None or framework.executor_of(task_id) is None:
            state = tasks.state_for("TASK_DROPPED", tasks.capabilities_of(info))
            text = "Reconciliation: task unknown to the agent"
            agent.make_update(framework or Framework(info), task_id, state, text, "REASON_RECONCILIATION", None)
    agent.resend_updates()
