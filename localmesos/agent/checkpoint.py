"""What an agent writes down, so that the next one can go on after a kill, and how the next one reads it.  Pure.

Of frameworks, only those with ``checkpoint`` are written down; nothing of the others survives.  Below the
work directory's ``meta``, one JSON document a file::

    agent.json                                                the AgentInfo: the agent keeps its id
    resource_providers.json                                   type and name by id, for good
    frameworks/FID/framework.json
    frameworks/FID/executors/EID/executor.json                with container id, and pid once it has one
    frameworks/FID/executors/EID/tasks/TID/task.json          with the updates that are not acknowledged

As in Mesos (``src/slave/state.cpp``), apart from names and format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from serenity.localmesos.agent import executor_launch
from serenity.localmesos.agent.executor_launch import AgentSettings
from serenity.localmesos.agent.state import Executor, Framework
from serenity.localmesos.agent.updates import StatusUpdates
from serenity.localmesos.messages import Checkpoint, Forget, Outbox
from serenity.localmesos.tasks import Task
from serenity.wire.mesos.resources import Json, Resources

_AGENT = "agent.json"
_PROVIDERS = "resource_providers.json"


class Checkpoints:
    """The writing side: appends to the agent's outbox, before the effects that must not happen without the write."""

    def __init__(self, outbox: Outbox, updates: StatusUpdates) -> None:
        self._outbox = outbox
        self._updates = updates

    def agent(self, info: Json) -> None:
        self._outbox.append(Checkpoint(_AGENT, info))

    def providers(self, known: Mapping[str, tuple[str, str]]) -> None:
        content = {pid: {"type": kind, "name": name} for pid, (kind, name) in known.items()}
        self._outbox.append(Checkpoint(_PROVIDERS, content))

    def framework(self, framework: Framework) -> None:
        if framework.checkpoints:
            path = f"{_of_framework(framework.framework_id)}/framework.json"
            self._outbox.append(Checkpoint(path, framework.info))

    def executor(self, framework: Framework, executor: Executor) -> None:
        if framework.checkpoints:
            content = {
                "info": executor.info,
                "container_id": executor.container_id,
                "for_command_task": executor.for_command_task,
                **({} if executor.pid is None else {"pid": executor.pid}),
            }
            self._outbox.append(Checkpoint(f"{_of_executor(executor)}/executor.json", content))

    def task(self, framework: Framework, executor: Executor, task: Task) -> None:
        if framework.checkpoints:
            pending, seen = self._updates.of_task(framework.framework_id, task.task_id)
            content = {"task": task.to_v1(), "pending": pending, "seen": seen}
            self._outbox.append(Checkpoint(f"{_of_executor(executor)}/tasks/{task.task_id}/task.json", content))

    def forget_executor(self, framework: Framework, executor: Executor) -> None:
        if framework.checkpoints:
            self._outbox.append(Forget(_of_executor(executor)))

    def forget_framework(self, framework: Framework) -> None:
        if framework.checkpoints:
            self._outbox.append(Forget(_of_framework(framework.framework_id)))


def _of_framework(framework_id: str) -> str:
    return f"frameworks/{framework_id}"


def _of_executor(executor: Executor) -> str:
    return f"{_of_framework(executor.framework_id)}/executors/{executor.executor_id}"


# -- read again ----------------------------------------------------------------------------


@dataclass(slots=True)
class Recovered:
    """What an earlier agent has left."""

    agent_info: Json
    providers: dict[str, tuple[str, str]] = field(default_factory=dict)
    frameworks: dict[str, Framework] = field(default_factory=dict)
    updates: StatusUpdates = field(default_factory=StatusUpdates)

    @property
    def agent_id(self) -> str:
        return str(self.agent_info["id"]["value"])


def agent_id(files: Mapping[str, Json], settings: AgentSettings) -> str | None:
    """The checkpointed agent's id; None without a checkpoint, or if hostname or resources differ from `settings`.

    If they differ, Mesos refuses to start; here the agent begins anew.
    """
    info = files.get(_AGENT)
    if info is None or info["hostname"] != settings.hostname:
        return None
    return str(info["id"]["value"]) if Resources.from_json(info["resources"]) == settings.resources else None


def recovered(files: Mapping[str, Json], settings: AgentSettings) -> Recovered | None:
    """None if there was no agent before.

    Args:
        files: content by path.  A document is ignored if that of its framework or executor is missing: the
            agent was killed while it removed them, or before it had written them all.
    """
    if _AGENT not in files:
        return None
    providers = {pid: (str(each["type"]), str(each["name"])) for pid, each in files.get(_PROVIDERS, {}).items()}
    found = Recovered(files[_AGENT], providers)
    # By depth: a framework comes before its executors, and executors before their tasks.
    for path, content in sorted(files.items(), key=lambda item: item[0].count("/")):
        parts = PurePosixPath(path).parts
        if parts[-1] == "framework.json":
            found.frameworks[parts[1]] = Framework(content)
        elif parts[-1] == "executor.json" and parts[1] in found.frameworks:
            executor = _executor(content, parts[1], settings)
            found.frameworks[parts[1]].executors[executor.executor_id] = executor
        elif parts[-1] == "task.json" and parts[1] in found.frameworks:
            owner = found.frameworks[parts[1]].executors.get(parts[3])
            if owner is not None:
                _add_task(owner, content, found.updates)
    found.frameworks = {fid: framework for fid, framework in found.frameworks.items() if framework.executors}
    return found


def _executor(content: Json, framework_id: str, settings: AgentSettings) -> Executor:
    info, container_id = content["info"], str(content["container_id"])
    executor_id = info["executor_id"]["value"]
    return Executor(
        info=info,
        framework_id=framework_id,
        container_id=container_id,
        sandbox=executor_launch.sandbox_path(settings, framework_id, executor_id, container_id),
        for_command_task=bool(content["for_command_task"]),
        register_by_s=float("inf"),  # All recovered executors share one timeout.
        pid=content.get("pid"),
        ever_sent=True,
    )


def _add_task(executor: Executor, content: Json, updates: StatusUpdates) -> None:
    task = Task.from_v1(content["task"])
    task.update_state = task.update_uuid = None  # This agent has sent no update yet.
    updates.restore(executor.framework_id, task.task_id, content["pending"], content["seen"])
    if not task.terminal:
        executor.launched[task.task_id] = task
    elif content["pending"]:
        executor.terminated[task.task_id] = task
    else:
        executor.completed.append(task)
