"""Actuators: each one way to correct a task, that can be undone and that looks whether it took effect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from serenity.executor.cgroups import CpuCgroup


class ActuatorError(Exception):
    """The correction could not be applied, or reading back shows that it is not in force."""


@dataclass(frozen=True, slots=True)
class Target:
    """A running task, as an actuator needs it."""

    task_id: str
    cgroup: CpuCgroup | None


class Throttle(Protocol):
    """Limits the CPU that a task uses."""

    name: str
    stops_processes: bool  # Its tasks stand still at times, and handle no signal then.

    def available(self, target: Target) -> str | None:
        """None if it can be used on this task, else why not."""

    def apply(self, target: Target, cores: float, use_cores: float) -> None:
        """Lets the task use `cores` of the `use_cores` that it would use; replaces an earlier limit.

        Raises:
            ActuatorError: also when reading back shows that it did not take effect.
        """

    def undo(self, target: Target) -> None:
        """As if it had never been applied.  Nothing happens where it is not, or the task is gone."""
