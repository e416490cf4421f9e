"""What both resctrl actuators have in common: a limit of one class, which all tasks in it share."""

from __future__ import annotations

import abc
import logging

from serenity.executor.corrections.actuators import ActuatorError, Allowance, Target
from serenity.executor.corrections.actuators.resctrl_class import ResctrlClass
from serenity.executor.corrections.kernel_files import Knob

logger = logging.getLogger(__name__)


class ClassLimit(abc.ABC):
    """A derived actuator says what the class is to have, from the shares that its tasks are left."""

    name: str
    resources: tuple[str, ...]  # As resctrl calls them, in info/ and in a schemata.

    def __init__(self, resctrl: ResctrlClass) -> None:
        self._resctrl = resctrl
        self._shares: dict[str, float] = {}  # By task.

    def available(self, target: Target) -> str | None:
        return self._resctrl.lacks(self.resources)

    def apply(self, target: Target, allowance: Allowance) -> str:
        before = dict(self._shares)
        self._shares[target.task_id] = allowance.share
        try:
            self._resctrl.make()
            said = self._write()
            return f"{said}, {self._resctrl.join(target.task_id, self.name)}"
        except ActuatorError:
            self._shares = before
            self._as_before(target.task_id)
            raise

    def undo(self, target: Target) -> None:
        if self._shares.pop(target.task_id, None) is not None:
            try:
                self._write()
            finally:
                self._resctrl.leave(target.task_id, self.name)

    def look(self, target: Target) -> str | None:
        if not self._resctrl.folder.exists():
            return f"{self._resctrl.folder} is gone"
        try:
            self._resctrl.take_in(target.task_id)
            return self._resctrl.foreign(self.resources)
        except ActuatorError as error:
            return str(error)

    @abc.abstractmethod
    def _values(self) -> tuple[dict[Knob, str], str]:
        """For `_shares`, which is not empty: the knobs' values, and in words.  Raises ActuatorError."""

    def _write(self) -> str:
        if not self._shares:
            self._resctrl.originals.restore(self._resctrl.knobs(self.resources))
            return "nothing"
        values, said = self._values()
        if not values:
            raise ActuatorError(f"{self._resctrl.root} has no {' nor '.join(self.resources)}")
        self._resctrl.originals.set(values)
        return said

    def _as_before(self, task_id: str) -> None:
        """A task that does not get into the class must not change the limit of the tasks in it."""
        try:
            self._write()
            if task_id not in self._shares:
                self._resctrl.leave(task_id, self.name)
        except ActuatorError as error:
            logger.warning("%s: %s", self._resctrl.folder, error)
