"""Freezes without any rights: every process of the tree is stopped, and kept so."""

from __future__ import annotations

from serenity.executor.corrections.actuators import Allowance, Resource, Target
from serenity.executor.corrections.actuators.stop_and_go import StopAndGo


class StoppedTree:
    name = "SIGSTOP"
    of: Resource = "all"
    stops_processes = True

    def __init__(self, stop_and_go: StopAndGo) -> None:
        self._stop_and_go = stop_and_go

    def available(self, target: Target) -> str | None:
        return None

    def apply(self, target: Target, allowance: Allowance) -> str:
        self._stop_and_go.freeze(target.task_id)
        return "frozen"

    def undo(self, target: Target) -> None:
        self._stop_and_go.thaw(target.task_id)

    def look(self, target: Target) -> str | None:
        return None  # Processes that somebody else continues are stopped at the next turn.
