"""The life of one task: events in, instructions out; nothing here touches a process.

    starting ──started──► running ──leader exits──► leaving ──tree empty──► ended
       │  │                  │                        ▲ ▲
       │  └─────── end ──────┴───────► ending ────────┘ │
       │                        leader exits, or grace over
       └── failed_to_start ───────────────────────────────────────────────► ended

*ending* has had SIGTERM and has until its grace is over; *leaving* has had SIGKILL, and
only waits for the kernel to bury it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from serenity.wire.messages.reasons import Reason
from serenity.wire.messages.task_end import TaskEnd
from serenity.wire.messages.task_spec import TaskSpec

# SIGKILL is sent again this often to processes that do not go (in uninterruptible sleep).
_KILL_AGAIN_S = 1.0


class State(enum.Enum):
    STARTING = "starting"
    RUNNING = "running"
    ENDING = "ending"
    LEAVING = "leaving"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Ending:
    """Why we end a task.  `decided_at`: seconds since the epoch; `decision`: QoS' own; opaque here.

    `detail`: what the reason alone does not say, such as by how much a limit was broken.
    """

    reason: Reason
    decided_at: float
    grace_s: float
    decision: object = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Exit:
    """How the leader ended: by its exit code, or by a signal.

    `cpu_s` covers the children it waited for; `resident_bytes` is the most that any one of these processes has had.
    """

    code: int | None
    signal: int | None
    cpu_s: float
    resident_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a task could not be started: `reason` says whose fault that is, the text is for the job's owner."""

    reason: Reason
    text: str


class Instruction(enum.Enum):
    SAY_RUNNING = "update: TASK_RUNNING"
    SAY_KILLING = "update: TASK_KILLING, if the framework knows that state"
    TERMINATE = "SIGTERM to the whole tree, and continue what is stopped"
    KILL = "SIGKILL to the whole tree"
    FINISH = "send the terminal update, and forget the task"


Instructions = tuple[Instruction, ...]


class Task:
    """One attempt.  Times given as `monotonic_s` are of one clock that never goes back."""

    def __init__(self, task_id: str, spec: TaskSpec, launched_at: float, monotonic_s: float) -> None:
        self.id = task_id
        self.spec = spec
        self.launched_at = launched_at  # Seconds since the epoch.
        self.state = State.STARTING
        self.pid: int | None = None
        self.ending: Ending | None = None
        self.exit: Exit | None = None
        self.failure: Failure | None = None
        self.graceful: bool | None = None  # Of an ending: whether SIGTERM was enough.
        self.how_ended = TaskEnd()  # Complete once it has ended.
        self._launched_s = monotonic_s
        self.ended_s: float | None = None
        self.deadline_s: float | None = None
        if spec.max_runtime_s is not None:
            self.deadline_s = monotonic_s + spec.max_runtime_s

    @property
    def being_ended(self) -> bool:
        return self.state in (State.ENDING, State.LEAVING, State.ENDED)

    @property
    def at_work(self) -> bool:
        """Whether it uses the machine: its command runs, or what it wants to find is fetched."""
        return self.state is not State.STARTING or bool(self.spec.uris)

    def ran_for_s(self, monotonic_s: float) -> float:
        return (self.ended_s if self.ended_s is not None else monotonic_s) - self._launched_s

    def started(self) -> Instructions:
        """The command itself runs now."""
        if self.state is not State.STARTING:
            return ()
        self.state = State.RUNNING
        return (Instruction.SAY_RUNNING,)

    def failed_to_start(self, failure: Failure, monotonic_s: float) -> Instructions:
        """The command could not be started.  Later exits change nothing."""
        if self.state is State.ENDED:
            return ()
        self.failure = failure
        return self._ended(monotonic_s)

    def end(self, ending: Ending, monotonic_s: float) -> Instructions:
        """Ends the task.  The first reason stands; a later call can only shorten the grace."""
        deadline_s = monotonic_s + ending.grace_s
        if self.state in (State.STARTING, State.RUNNING):
            self.state, self.ending, self.deadline_s = State.ENDING, ending, deadline_s
            return (Instruction.SAY_KILLING, Instruction.TERMINATE)
        if self.state is State.ENDING and self.deadline_s is not None:
            self.deadline_s = min(self.deadline_s, deadline_s)
        return ()

    def leader_exited(self, exit_: Exit, monotonic_s: float, ended_by: Ending | None = None) -> Instructions:
        """What the leader leaves behind is killed; after a SIGTERM it has its grace first, like the leader.

        `ended_by`: what the exit alone does not say, where it was not the command's own doing.
        """
        if self.state is State.ENDED:
            return ()
        self.exit = exit_
        if self.ending is None and ended_by is not None:
            self.ending, self.graceful = ended_by, False
        if self.state is State.ENDING:
            return ()
        return self._leave(monotonic_s)

    def tree_is_empty(self, monotonic_s: float) -> Instructions:
        """No process of the task is left.  Nothing happens before the leader's exit was reported."""
        if self.exit is None or self.state not in (State.ENDING, State.LEAVING):
            return ()
        if self.ending is not None and self.graceful is None:
            self.graceful = True
        return self._ended(monotonic_s)

    def due(self, monotonic_s: float, now_s: float) -> Instructions:
        """Call it when `deadline_s` has come."""
        if self.deadline_s is None or monotonic_s < self.deadline_s:
            return ()
        if self.state in (State.STARTING, State.RUNNING):
            return self.end(Ending(Reason.MAX_RUNTIME, now_s, self.spec.grace_s), monotonic_s)
        if self.state is State.ENDING:
            self.graceful = False
        return self._leave(monotonic_s)

    def _leave(self, monotonic_s: float) -> Instructions:
        self.state = State.LEAVING
        self.deadline_s = monotonic_s + _KILL_AGAIN_S
        return (Instruction.KILL,)

    def _ended(self, monotonic_s: float) -> Instructions:
        self.state, self.deadline_s, self.ended_s = State.ENDED, None, monotonic_s
        return (Instruction.FINISH,)
