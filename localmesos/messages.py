"""What master and agent say to one another, and what either wants done in the world.

Both are state machines without I/O: calls, messages and the clock go in, effects come out
(`Outbox`).  `embedded.EmbeddedMesos` carries them out.  The messages to the other side are
those of Mesos' own ``src/messages/messages.proto``, cut down to what is used here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from serenity.localmesos.tasks import Task
from serenity.wire.mesos.resources import Json, Resources

# -- master to agent ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunTask:
    framework_info: Json
    task: Json
    # Of the providers as the master knows them: a launch with outdated versions is dropped.
    provider_versions: Mapping[str, str]
    launch_executor: bool  # The master expects that the executor does not run yet.


@dataclass(frozen=True, slots=True)
class KillTask:
    framework_id: str
    task_id: str
    kill_policy: Json | None


@dataclass(frozen=True, slots=True)
class ShutdownExecutor:
    framework_id: str
    executor_id: str


@dataclass(frozen=True, slots=True)
class ShutdownFramework:
    framework_id: str


@dataclass(frozen=True, slots=True)
class UpdateFramework:
    """A framework's current FrameworkInfo; its unacknowledged updates are due at once."""

    framework_info: Json


@dataclass(frozen=True, slots=True)
class AcknowledgeUpdate:
    framework_id: str
    task_id: str
    uuid: str


@dataclass(frozen=True, slots=True)
class MessageToExecutor:
    framework_id: str
    executor_id: str
    data: str


@dataclass(frozen=True, slots=True)
class AgentRegistered:
    """The answer to `RegisterAgent` and `ReregisterAgent`."""

    # FrameworkInfo and task id of tasks that the master knows and the agent did not name.
    unknown_tasks: tuple[tuple[Json, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ShutdownAgent:
    """The agent is to end, its executors first: the master will never take it back."""

    message: str


ToAgent = (
    RunTask
    | KillTask
    | ShutdownExecutor
    | ShutdownFramework
    | UpdateFramework
    | AcknowledgeUpdate
    | MessageToExecutor
    | AgentRegistered
    | ShutdownAgent
)


@dataclass(frozen=True, slots=True)
class ForAgent:
    """A message for an agent; it is lost if the agent is not there."""

    agent_id: str
    message: ToAgent


# -- agent to master ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProviderState:
    """A resource provider as its agent knows it."""

    info: Json
    total: Resources
    version: str  # Opaque; another one means that launches on earlier offers are outdated.


@dataclass(frozen=True, slots=True)
class RegisterAgent:
    agent_info: Json
    total: Resources  # The agent's own, without those of providers.


@dataclass(frozen=True, slots=True)
class ReregisterAgent:
    """An agent that was registered before is back, with all that it knows."""

    agent_info: Json
    total: Resources
    frameworks: tuple[Json, ...]
    executors: tuple[Json, ...]  # Without those of command tasks, and those that have ended.
    tasks: tuple[Task, ...]  # Snapshots.
    providers: Mapping[str, ProviderState]  # Mesos sends them in a second message, before anything is offered.


@dataclass(frozen=True, slots=True)
class UpdateProviders:
    """All resource providers that are there now."""

    providers: Mapping[str, ProviderState]


@dataclass(frozen=True, slots=True)
class UpdateStatus:
    framework_id: str
    status: Json
    latest_state: str  # Of the task; `status` may be an older update that waited its turn.


@dataclass(frozen=True, slots=True)
class ExecutorExited:
    framework_id: str
    executor_id: str
    wait_status: int


@dataclass(frozen=True, slots=True)
class MessageToFramework:
    framework_id: str
    executor_id: str
    data: str


ToMaster = RegisterAgent | ReregisterAgent | UpdateProviders | UpdateStatus | ExecutorExited | MessageToFramework

# -- into the world ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Send:
    """One event to the subscriber of an event stream."""

    stream_id: str
    event: Json


@dataclass(frozen=True, slots=True)
class Close:
    """Ends an event stream."""

    stream_id: str


@dataclass(frozen=True, slots=True)
class LaunchContainer:
    """Starts a container's first process; answered by `Agent.container_launched`, `_failed` or `_ended`."""

    container_id: str
    allocated: Resources
    sandbox: Path
    argv: tuple[str, ...]
    program: str
    environment: Mapping[str, str] = field(repr=False)
    user: str | None
    uris: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class UpdateContainer:
    """Sets a container's limits: what is allocated to it has changed."""

    container_id: str
    allocated: Resources


@dataclass(frozen=True, slots=True)
class DestroyContainer:
    """Kills every process of a container; answered by `Agent.container_ended`."""

    container_id: str


@dataclass(frozen=True, slots=True)
class RecoverContainers:
    """Takes over containers of an earlier agent, and tells the end of each; all its others are killed."""

    containers: tuple[RecoveredContainer, ...]


@dataclass(frozen=True, slots=True)
class RecoveredContainer:
    container_id: str
    sandbox: Path
    pid: int


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Writes a file that a later agent recovers from; later effects in the outbox wait until it is there."""

    path: str  # In the meta directory.
    content: Json


@dataclass(frozen=True, slots=True)
class Forget:
    """Removes a directory below the meta directory."""

    path: str


@dataclass(frozen=True, slots=True)
class EndAgent:
    """The agent's process ends."""

    reason: str


Effect = (
    Send
    | Close
    | LaunchContainer
    | UpdateContainer
    | DestroyContainer
    | RecoverContainers
    | Checkpoint
    | Forget
    | EndAgent
    | ForAgent
    | ToMaster
)
Outbox = list[Effect]


class CallRefused(Exception):  # noqa: N818 - reads as what it says
    """A call is answered with this HTTP status and text, and changed nothing."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
