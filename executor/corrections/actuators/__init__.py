"""Actuators: each one way to correct a task, that can be undone and that looks whether it took effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from serenity.executor.tasks.cgroups import OwnedCgroup

# What an actuator takes from a task.
Resource = Literal["cpu", "llc", "memory_bandwidth", "io", "all"]


class ActuatorError(Exception):
    """The correction could not be applied, or reading back shows that it is not in force."""

    @classmethod
    def of(cls, error: OSError) -> ActuatorError:
        """The kernel's own words, with the file that they are about."""
        return cls(f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else ""))


@dataclass(frozen=True, slots=True)
class Target:
    """A running task, as an actuator needs it.  `measured`: by frame column, of late; missing or NaN: not measured."""

    task_id: str
    cgroup: OwnedCgroup | None = None
    measured: Mapping[str, float] = field(default_factory=dict)

    @property
    def v2(self) -> bool:
        return self.cgroup is not None and self.cgroup.v2

    def folder(self, controller: str) -> Path | None:
        """Of the task's own cgroup."""
        return self.cgroup.folders.get(controller) if self.cgroup is not None else None


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a throttled task is left: `cores` of the `use_cores` that it would use."""

    cores: float
    use_cores: float

    @property
    def share(self) -> float:
        """`cores` as a share of `use_cores`; at most 1.  It holds for other resources as well."""
        return min(1.0, self.cores / self.use_cores) if self.use_cores > 0 else 1.0

    def __str__(self) -> str:
        return f"{self.cores:.2f} of {self.use_cores:.2f} cores"


class Actuator(Protocol):
    """Limits what a task uses of one resource; an actuator of all resources stops the task."""

    @property
    def name(self) -> str: ...
    @property
    def of(self) -> Resource: ...
    @property
    def stops_processes(self) -> bool:
        """Its tasks stand still at times, and handle no signal then."""

    def available(self, target: Target) -> str | None:
        """None if it can be used on this task, else why not."""

    def apply(self, target: Target, allowance: Allowance) -> str:
        """Replaces what this actuator did to the task before.  Says what is in force now, as read back.

        Raises:
            ActuatorError
        """

    def undo(self, target: Target) -> None:
        """As if it had never been applied.  Nothing happens where it is not applied, or the task is gone.

        Raises:
            ActuatorError: the kernel refuses.
        """

    def look(self, target: Target) -> str | None:
        """What another writer has made of the correction; None while it is in force.  Called every few seconds.

        Processes that the task has made since then are corrected as well.  Raises ActuatorError.
        """
