"""What all actuators have in common that set values in a task's own cgroup."""

from __future__ import annotations

from collections.abc import Mapping

from serenity.executor.corrections.actuators import Target
from serenity.executor.corrections.kernel_files import Knob
from serenity.executor.corrections.originals import Originals


class KnobsOfTasks:
    """Remembers which knobs are turned for which task."""

    def __init__(self, originals: Originals) -> None:
        self._originals = originals
        self._kernel = originals.kernel
        self._turned: dict[str, tuple[Knob, ...]] = {}

    def undo(self, target: Target) -> None:
        self._originals.restore(self._turned.pop(target.task_id, ()))

    def look(self, target: Target) -> str | None:
        for knob in self._turned.get(target.task_id, ()):
            foreign = self._originals.foreign(knob)
            if foreign is not None:
                return f"{knob} is {foreign}"
        return None

    def _turn(self, target: Target, values: Mapping[Knob, str]) -> None:
        """Raises ActuatorError: then none of the values is in force."""
        self._originals.set(values)
        self._turned[target.task_id] = tuple(dict.fromkeys((*self._turned.get(target.task_id, ()), *values)))
