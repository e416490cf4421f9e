"""A task's way to its executor: checked, queued, its resources published, sent.  Parts of the agent; pure like it.

``Slave::run``, ``_run``, ``__run`` and ``___run`` in ``src/slave/slave.cpp``.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from serenity.localmesos import tasks
from serenity.localmesos.agent import executor_launch
from serenity.localmesos.agent.provider import Publication
from serenity.localmesos.agent.state import AgentState, Executor, ExecutorState, Framework, Termination, living
from serenity.localmesos.messages import ExecutorExited, RunTask, UpdateContainer
from serenity.localmesos.tasks import Task
from serenity.wire.mesos.resources import Json, Resources

if TYPE_CHECKING:
    from serenity.localmesos.agent.agent import Agent


def run_task(agent: Agent, message: RunTask) -> None:
    framework_id = message.framework_info["id"]["value"]
    framework = agent.frameworks.get(framework_id)
    if agent.state is AgentState.TERMINATING or (framework is not None and framework.terminating):
        return
    if framework is None:
        framework = agent.frameworks[framework_id] = Framework(message.framework_info)
        agent.checkpoints.framework(framework)
    task = message.task
    executor_info = task.get("executor") or executor_launch.command_executor_info(task, framework_id, agent.settings)
    executor_id = executor_info["executor_id"]["value"]
    executor = framework.executors.get(executor_id)
    refusal = _why_dropped(agent, message, executor)
    if refusal is not None:
        reason, text = refusal
        state = tasks.state_for("TASK_DROPPED", framework.capabilities)
        agent.make_update(framework, task["task_id"]["value"], state, text, reason, executor_id)
        if message.launch_executor and "executor" in task:
            agent.outbox.append(ExecutorExited(framework_id, executor_id, -1))
        agent.remove_if_idle(framework)
        return
    new = executor is None
    if executor is None:
        executor = _new_executor(agent, framework, executor_info, for_command_task="command" in task)
    executor.queued[task["task_id"]["value"]] = task
    agent.checkpoints.task(framework, executor, Task.of(task, framework_id))
    if new or executor.state is ExecutorState.RUNNING:
        publish_queued(agent, executor, first_launch=new)


def _why_dropped(agent: Agent, message: RunTask, executor: Executor | None) -> tuple[str, str] | None:
    """The reason and message with which a launch is dropped; None if it can go on."""
    states = agent.providers.states
    for provider_id in {each["provider_id"]["value"] for each in message.task["resources"] if "provider_id" in each}:
        current = states.get(provider_id)
        if current is None or current.version != message.provider_versions.get(provider_id):
            return "REASON_INVALID_OFFERS", "Task assumes outdated resource state"
    if "command" in message.task:
        if executor is not None:
            return "REASON_TASK_INVALID", "Cannot reuse an already existing executor for a command task"
        return None
    if message.launch_executor and executor is not None:
        return "REASON_EXECUTOR_TERMINATED", "Master wants to launch executor, but one already exists"
    if not message.launch_executor and executor is None:
        text = "No executor is expected to launch and there is no executor running"
        return "REASON_EXECUTOR_TERMINATED", text
    if executor is not None and executor.ending:
        return "REASON_EXECUTOR_TERMINATED", f"Executor {executor.state.value.lower()}"
    return None


def _new_executor(agent: Agent, framework: Framework, info: Json, for_command_task: bool) -> Executor:
    container_id, executor_id = str(uuid.uuid4()), info["executor_id"]["value"]
    executor = framework.executors[executor_id] = Executor(
        info=info,
        framework_id=framework.framework_id,
        container_id=container_id,
        sandbox=executor_launch.sandbox_path(agent.settings, framework.framework_id, executor_id, container_id),
        for_command_task=for_command_task,
        register_by_s=agent.clock() + agent.settings.executor_registration_timeout_s,
    )
    agent.checkpoints.executor(framework, executor)
    return executor


# -- launches wait for the resource providers ----------------------------------------------


def publish_queued(agent: Agent, executor: Executor, first_launch: bool = False) -> None:
    """Has all that is in use of `executor`'s providers published; then starts it, or sends it its queued tasks."""
    used = Resources()
    for _, each in living(agent.frameworks):
        used += each.allocated
    wanted = {kind.provider_id for kind in executor.allocated.kinds}
    of_its_providers = Resources({kind: value for kind, value in used if kind.provider_id in wanted})
    publication = Publication(executor.container_id, tuple(executor.queued), first_launch)
    agent.providers.publish(publication, of_its_providers)
    continue_launches(agent)


def continue_launches(agent: Agent) -> None:
    """Goes on with the launches that the providers have answered."""
    for publication in agent.providers.finished():
        for framework, executor in living(agent.frameworks):
            if executor.container_id == publication.container_id:
                _published(agent, framework, executor, publication)


def _published(agent: Agent, framework: Framework, executor: Executor, publication: Publication) -> None:
    if publication.failure is not None:
        text = f"Failed to publish resources for container {executor.container_id}: {publication.failure}"
        if publication.first_launch:
            executor.termination = Termination("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED", text)
            agent.terminated(framework, executor, None)
            return
        agent.fail_update(framework, executor, text)
    elif publication.first_launch:
        if executor.state is ExecutorState.REGISTERING:
            agent.outbox.append(executor_launch.launch_of(framework.info, executor, agent.settings))
        else:
            text = f"Executor {executor.state.value.lower()}"
            executor.termination = Termination("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED", text)
            agent.terminated(framework, executor, None)
    elif executor.state is ExecutorState.RUNNING:
        agent.outbox.append(UpdateContainer(executor.container_id, executor.allocated))
        for task_id in publication.task_ids:
            info = executor.queued.pop(task_id, None)
            if info is not None:  # Else the task was killed meanwhile.
                executor.launched[task_id] = Task.of(info, executor.framework_id)
                executor.ever_sent = True
                agent.send(executor, "LAUNCH", {"task": info})
