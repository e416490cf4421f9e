"""Carries corrections out with the best actuator there is for their cause, keeps them in force, takes them back."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from serenity.daemon.clock import Clock
from serenity.executor.corrections.actuators import Actuator, ActuatorError, Allowance, Target
from serenity.executor.corrections.actuators.stop_and_go import StopAndGo
from serenity.executor.corrections.contest import Contests, Verdict

logger = logging.getLogger(__name__)

# Causes that have no actuators of their own have these.
DEFAULT = "cpu"
FREEZE = "freeze"
_LOOK_EVERY_S = 3.0
# A task whose processes were stopped has this while it handles its SIGTERM.
_ENDING = Allowance(cores=0.1, use_cores=0.1)


@dataclass
class _Held:
    """What is in force on one task, with what each actuator has said."""

    target: Target
    cause: str = DEFAULT
    allowance: Allowance = _ENDING
    in_force: dict[Actuator, str] = field(default_factory=dict)

    @property
    def outcome(self) -> str:
        return "; ".join(f"{each.name}, {said}" for each, said in self.in_force.items())

    @property
    def frozen(self) -> bool:
        return any(each.of == "all" for each in self.in_force)


class Corrector:
    """`actuators`: by cause, and for `FREEZE`, the best first; `DEFAULT` is among them.  Main thread only."""

    def __init__(self, actuators: Mapping[str, Sequence[Actuator]], stop_and_go: StopAndGo, clock: Clock) -> None:
        self._actuators = actuators
        self._stop_and_go = stop_and_go
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._contests = Contests(clock)
        self._look_s = 0.0
        self._said: dict[str, str] = {}  # By actuator: what is wrong with it.

    def throttle(self, target: Target, allowance: Allowance, cause: str = DEFAULT, easing: bool = False) -> str:
        """Says what is in force now, as read back, or why nothing is.  A frozen task runs again.

        One actuator for each resource: a task may be held by its cache for one cause, and by its
        CPU for another.  Easing eases all that hold it.
        """
        held = self._of(target)
        held.allowance = allowance
        if easing and any(each.of != "all" for each in held.in_force):
            not_applied = self._ease(held)
        else:
            held.cause = cause
            not_applied = self._climb(held, self._for(cause))
        self._drop(held, [each for each in held.in_force if each.of == "all"])
        return self._outcome(held, not_applied)

    def freeze(self, target: Target) -> str:
        """Says what is in force now, as read back, or why the task is not frozen."""
        held = self._of(target)
        return self._outcome(held, "" if held.frozen else self._climb(held, self._for(FREEZE)))

    def let_end(self, task_id: str) -> None:
        """Before a SIGTERM: a task must be able to run to handle it.  Limits stay; it is still one task too many."""
        held = self._held.get(task_id)
        if held is None:
            return
        stopping = [each for each in held.in_force if each.stops_processes]
        if stopping and not any(each.of == "cpu" for each in held.in_force if each not in stopping):
            held.allowance = _ENDING
            self._climb(held, [each for each in self._for(DEFAULT) if not each.stops_processes])
        self._drop(held, [each for each in stopping if each in held.in_force])

    def release(self, task_id: str) -> None:
        held = self._held.pop(task_id, None)
        if held is not None:
            self._drop(held, list(held.in_force))
        self._contests.forget(task_id)

    def release_all(self) -> None:
        for task_id in list(self._held):
            self.release(task_id)

    @property
    def next_s(self) -> float | None:
        """When `due` is to be called next, monotonic; None while nothing is in force."""
        times = [self._stop_and_go.next_s, self._look_s if self._held else None]
        return min((each for each in times if each is not None), default=None)

    def due(self) -> dict[str, str]:
        """Stops and continues tasks whose turn it is, and looks whether all is in force; where it is not, new outcomes.

        Another writer's value stays for a while, is overwritten once, and from then on is left alone.
        """
        self._stop_and_go.turn()
        now_s = self._clock.monotonic_s()
        if not self._held or now_s < self._look_s:
            return {}
        self._look_s = now_s + _LOOK_EVERY_S
        changed = {}
        for held in list(self._held.values()):
            lost = [said for each in list(held.in_force) if (said := self._look_at(held, each)) is not None]
            if lost:
                changed[held.target.task_id] = "; ".join(filter(None, (*lost, self._outcome(held, ""))))
        return changed

    # -- applying --------------------------------------------------------------------------------

    def _of(self, target: Target) -> _Held:
        held = self._held.setdefault(target.task_id, _Held(target))
        held.target = target
        return held

    def _outcome(self, held: _Held, not_applied: str) -> str:
        if not held.in_force:
            self._held.pop(held.target.task_id, None)
        outcome = [held.outcome] if held.in_force else []
        return "; ".join([*outcome, *([f"not applied: {not_applied}"] if not_applied else [])])

    def _for(self, cause: str) -> Sequence[Actuator]:
        return self._actuators.get(cause, self._actuators[DEFAULT])

    def _climb(self, held: _Held, actuators: Iterable[Actuator]) -> str:
        """Applies the first actuator that can be, in place of another for its resource.  Why none could; or empty."""
        refused = []
        for actuator in actuators:
            given_up = self._contests.given_up(held.target.task_id, actuator.name)
            why_not = given_up or actuator.available(held.target) or self._apply(held, actuator)
            if why_not is None:
                self._drop(held, [each for each in held.in_force if each.of == actuator.of and each is not actuator])
                return ""
            refused.append(f"{actuator.name}: {why_not}")
            self._say(actuator, f"cannot be used on {held.target.task_id}", why_not)
        return "; ".join(refused)

    def _ease(self, held: _Held) -> str:
        """Why some of the corrections are as tight as before."""
        throttles = [each for each in held.in_force if each.of != "all"]
        return "; ".join(f"{each.name}: {why_not}" for each in throttles if (why_not := self._apply(held, each)))

    def _apply(self, held: _Held, actuator: Actuator) -> str | None:
        """Why it could not be applied; then the task is as before."""
        try:
            held.in_force[actuator] = actuator.apply(held.target, held.allowance)
        except ActuatorError as error:
            return str(error)
        return None

    def _drop(self, held: _Held, actuators: Iterable[Actuator]) -> None:
        for actuator in actuators:
            del held.in_force[actuator]
            try:
                actuator.undo(held.target)
            except ActuatorError as error:
                logger.error("the %s of %s could not be undone: %s", actuator.name, held.target.task_id, error)

    def _say(self, actuator: Actuator, what: str, why: str) -> None:
        """Once, and again when it is something else."""
        if self._said.get(actuator.name) != why:
            self._said[actuator.name] = why
            logger.info("%s %s: %s", actuator.name, what, why)

    # -- other writers ---------------------------------------------------------------------------

    def _look_at(self, held: _Held, actuator: Actuator) -> str | None:
        """What to tell when we have given this actuator up; else None."""
        task_id = held.target.task_id
        try:
            foreign = actuator.look(held.target)
        except ActuatorError as error:
            self._say(actuator, f"cannot be looked at on {task_id}", str(error))
            return None
        match self._contests.judge(task_id, actuator.name, foreign):
            case Verdict.APPLY_AGAIN:
                self._apply(held, actuator)
            case Verdict.GIVE_UP:
                said = f"{actuator.name} given up: another writer has changed it again ({foreign})"
                logger.warning("%s: %s", task_id, said)
                self._drop(held, [actuator])
                not_applied = self._climb(held, self._for(FREEZE if actuator.of == "all" else held.cause))
                return said + (f"; not applied: {not_applied}" if not_applied else "")
        return None
