"""What the agent remembers of the frameworks that use it: executors and their tasks.  Pure data."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from serenity.localmesos.tasks import Task, capabilities_of
from serenity.wire.mesos.resources import Json, Resources

MAX_COMPLETED_EXECUTORS = 150  # --max_completed_executors_per_framework
MAX_COMPLETED_TASKS = 200  # Per executor.
MAX_COMPLETED_FRAMEWORKS = 50


class AgentState(enum.Enum):
    """RECOVERING ─► REGISTERING ─► RUNNING ─► TERMINATING; with nothing to recover it begins as REGISTERING."""

    RECOVERING = "RECOVERING"  # Executors have a while to come back; no update goes out, hardly a call is answered.
    REGISTERING = "REGISTERING"
    RUNNING = "RUNNING"
    TERMINATING = "TERMINATING"


class ExecutorState(enum.Enum):
    """REGISTERING ─► RUNNING ─► TERMINATING ─► TERMINATED; from any state it may go straight to TERMINATED."""

    REGISTERING = "REGISTERING"  # Starting; it has not subscribed yet.
    RUNNING = "RUNNING"
    TERMINATING = "TERMINATING"  # Told to shut down, or its container is being destroyed.
    TERMINATED = "TERMINATED"  # The container is gone; updates of its tasks are not acknowledged yet.


@dataclass(frozen=True, slots=True)
class Termination:
    """Why a container is going to end, if the agent can say more than ``Executor terminated``."""

    state: str
    reason: str
    message: str


@dataclass(slots=True, eq=False)
class Executor:
    info: Json
    framework_id: str
    container_id: str
    sandbox: Path
    for_command_task: bool
    register_by_s: float
    state: ExecutorState = ExecutorState.REGISTERING
    pid: int | None = None
    stream_id: str | None = None
    ever_sent: bool = False  # Whether any task was ever sent to it.
    destroy_at_s: float | None = None  # The end of the grace period of a shutdown.
    termination: Termination | None = None
    queued: dict[str, Json] = field(default_factory=dict)  # TaskInfos that have not been sent to it.
    launched: dict[str, Task] = field(default_factory=dict)
    terminated: dict[str, Task] = field(default_factory=dict)  # Terminal tasks whose update is not acknowledged.
    completed: deque[Task] = field(default_factory=lambda: deque(maxlen=MAX_COMPLETED_TASKS))

    @property
    def executor_id(self) -> str:
        return str(self.info["executor_id"]["value"])

    @property
    def allocated(self) -> Resources:
        """Its own resources and those of its tasks that have not ended."""
        queued = [Resources.from_json(info["resources"]) for info in self.queued.values()]
        own = Resources.from_json(self.info.get("resources", []))
        return Resources.total([own, *queued, *(task.resources for task in self.launched.values())])

    @property
    def incomplete(self) -> bool:
        return bool(self.queued or self.launched or self.terminated)

    @property
    def ending(self) -> bool:
        return self.state in (ExecutorState.TERMINATING, ExecutorState.TERMINATED)

    def task(self, task_id: str) -> Task | None:
        return self.launched.get(task_id) or self.terminated.get(task_id)


@dataclass(slots=True, eq=False)
class Framework:
    info: Json
    terminating: bool = False  # Torn down: its executors end, and no updates are sent any more.
    executors: dict[str, Executor] = field(default_factory=dict)
    completed: deque[Executor] = field(default_factory=lambda: deque(maxlen=MAX_COMPLETED_EXECUTORS))

    @property
    def framework_id(self) -> str:
        return str(self.info["id"]["value"])

    @property
    def checkpoints(self) -> bool:
        return bool(self.info.get("checkpoint"))

    @property
    def capabilities(self) -> frozenset[str]:
        return capabilities_of(self.info)

    def executor_of(self, task_id: str) -> Executor | None:
        for executor in self.executors.values():
            if task_id in executor.queued or executor.task(task_id) is not None:
                return executor
        return None


def living(frameworks: dict[str, Framework]) -> Iterator[tuple[Framework, Executor]]:
    """Every executor whose container exists or is being made; from a copy, so that `frameworks` may change."""
    yield from [
        (framework, executor)
        for framework in frameworks.values()
        for executor in framework.executors.values()
        if executor.state is not ExecutorState.TERMINATED
    ]
