"""Carries throttles out with the best actuator there is, and takes all of them back."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from serenity.executor.actuators import ActuatorError, Target, Throttle

logger = logging.getLogger(__name__)


class Corrector:
    """`actuators`: the best first."""

    def __init__(self, actuators: Sequence[Throttle]) -> None:
        self._actuators = actuators
        self._in_force: dict[str, tuple[Throttle, Target]] = {}

    def throttle(self, target: Target, cores: float, use_cores: float) -> str:
        """Says what is in force now, or why nothing is; it has looked."""
        refused = []
        for actuator in self._actuators:
            why_not = actuator.available(target)
            if why_not is None:
                try:
                    actuator.apply(target, cores, use_cores)
                except ActuatorError as error:
                    why_not = str(error)
                    logger.warning("%s of %s: %s", actuator.name, target.task_id, error)
                else:
                    self._replace(target, actuator)
                    return f"{actuator.name}, {cores:.2f} of {use_cores:.2f} cores"
            refused.append(f"{actuator.name}: {why_not}")
        return f"not applied: {'; '.join(refused)}"

    def let_end(self, task_id: str) -> None:
        """Before a SIGTERM: a task must be able to run to handle it.  A quota stays; the task is still one too many."""
        found = self._in_force.get(task_id)
        if found is not None and found[0].stops_processes:
            self.release(task_id)

    def release(self, task_id: str) -> None:
        found = self._in_force.pop(task_id, None)
        if found is not None:
            self._undo(*found)

    def release_all(self) -> None:
        for task_id in list(self._in_force):
            self.release(task_id)

    def _replace(self, target: Target, actuator: Throttle) -> None:
        before = self._in_force.get(target.task_id)
        self._in_force[target.task_id] = (actuator, target)
        if before is not None and before[0] is not actuator:
            self._undo(*before)

    @staticmethod
    def _undo(actuator: Throttle, target: Target) -> None:
        try:
            actuator.undo(target)
        except ActuatorError as error:
            logger.error("the %s of %s could not be undone: %s", actuator.name, target.task_id, error)
