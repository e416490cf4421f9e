"""What the guard decides: handed from the tick thread to main, which carries it out."""

from __future__ import annotations

from dataclasses import dataclass

from serenity.qos.contention import Finding
from serenity.qos.frame import Container
from serenity.wire.messages.kill_record import Step


@dataclass(frozen=True, slots=True)
class Decision:
    """Why a task is evicted: what was found, and what was tried on the task before, the eviction last."""

    finding: Finding
    ladder: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Throttle:
    """Let the task use `cores`, of the `use_cores` that it used unthrottled; thaws it if it is frozen.

    The cause of the finding says which resource: where it is not the CPU, the task keeps that share of its use of it.
    """

    task: str
    cores: float
    use_cores: float
    finding: Finding
    easing: bool = False  # A step of giving back.


@dataclass(frozen=True, slots=True)
class Freeze:
    """Let the task not run at all, until its next `Throttle` or its `Release`; what it is throttled to stays."""

    task: str
    finding: Finding


@dataclass(frozen=True, slots=True)
class Release:
    """Take every correction off the task, a freeze included."""

    task: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Evict:
    task: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class Concluded:
    """What a step on a task has led to; what an eviction has led to is known only after the task has gone."""

    task: str
    step: Step


@dataclass(frozen=True, slots=True)
class Accuse:
    """The top suspect is another executor's to correct: tell it."""

    suspect: Container
    finding: Finding


@dataclass(frozen=True, slots=True)
class Hint:
    """The top suspect belongs to no executor that could correct it: people may want to know."""

    suspect: Container
    finding: Finding


@dataclass(frozen=True, slots=True)
class Relearn:
    """That container's contention was not best-effort's doing."""

    container_id: str


@dataclass(frozen=True, slots=True)
class CloseValve:
    """No new best-effort tasks; said again at every tick for as long as it holds."""

    reason: str


@dataclass(frozen=True, slots=True)
class OpenValve:
    pass


Action = Throttle | Freeze | Release | Evict | Concluded | Accuse | Hint | Relearn | CloseValve | OpenValve


@dataclass(frozen=True, slots=True)
class TaskView:
    """A running task as main last showed it to the guard.  `correction`: what is in force, or why nothing is."""

    id: str
    cpus: float  # Allocated.
    being_ended: bool = False
    correction: str = ""


def name_of(container: Container) -> str:
    """A production container as people know it."""
    return container.task or container.executor or container.id
