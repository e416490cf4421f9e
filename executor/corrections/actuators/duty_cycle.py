"""Throttles without any rights: the whole tree is stopped for a part of the time."""

from __future__ import annotations

from serenity.executor.corrections.actuators import Allowance, Resource, Target
from serenity.executor.corrections.actuators.stop_and_go import StopAndGo

_LEAST_RUN = 0.02  # Of the time: below 2 ms a period it is the timer that decides.


class DutyCycle:
    name = "duty cycle"
    of: Resource = "cpu"
    stops_processes = True

    def __init__(self, stop_and_go: StopAndGo) -> None:
        self._stop_and_go = stop_and_go

    def available(self, target: Target) -> str | None:
        return None

    def apply(self, target: Target, allowance: Allowance) -> str:
        self._stop_and_go.throttle(target.task_id, max(_LEAST_RUN, allowance.share))
        return str(allowance)

    def undo(self, target: Target) -> None:
        self._stop_and_go.unthrottle(target.task_id)

    def look(self, target: Target) -> str | None:
        return None  # Processes that somebody else continues are stopped at the next turn.
