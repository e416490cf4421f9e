"""Throttles without any rights: SIGSTOP and SIGCONT to the whole tree, in turn.

Each period of 100 ms the task runs for ``cores / use_cores`` of it.  Main's loop calls `turn`
when `next_s` has come; a late turn makes a longer stop or run, never a lost one.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from serenity.executor.actuators import ActuatorError, Target
from serenity.executor.trees import Trees

_PERIOD_S = 0.1
_STOPS_WITHIN_S = 0.1
_LEAST_RUN = 0.02  # Of the time: below 2 ms a period it is the timer that decides.


@dataclass
class _Cycle:
    run: float  # Share of time.
    next_s: float
    stopped: bool = False


class DutyCycle:
    name = "duty cycle"
    stops_processes = True

    def __init__(self, trees: Trees, monotonic: Callable[[], float]) -> None:
        self._trees = trees
        self._monotonic = monotonic
        self._cycles: dict[str, _Cycle] = {}

    def available(self, target: Target) -> str | None:
        return None

    def apply(self, target: Target, cores: float, use_cores: float) -> None:
        run = min(1.0, max(_LEAST_RUN, cores / use_cores if use_cores > 0 else 1.0))
        cycle = self._cycles.get(target.task_id)
        if cycle is not None:
            cycle.run = run
            return
        self._cycles[target.task_id] = _Cycle(run, self._monotonic())
        self.turn()
        if run < 1.0 and not self._all_stopped(target.task_id):
            self.undo(target)
            raise ActuatorError("the task's processes do not stop")

    def undo(self, target: Target) -> None:
        if self._cycles.pop(target.task_id, None) is not None:
            self._trees.signal(target.task_id, signal.SIGCONT)

    @property
    def next_s(self) -> float | None:
        """When `turn` is to be called next, monotonic; None while no task is throttled so."""
        return min((cycle.next_s for cycle in self._cycles.values()), default=None)

    def turn(self) -> None:
        now_s = self._monotonic()
        for task_id, cycle in self._cycles.items():
            if now_s < cycle.next_s:
                continue
            cycle.stopped = not cycle.stopped and cycle.run < 1.0
            share = 1.0 - cycle.run if cycle.stopped else cycle.run
            self._trees.signal(task_id, signal.SIGSTOP if cycle.stopped else signal.SIGCONT)
            cycle.next_s = now_s + share * _PERIOD_S

    def _all_stopped(self, task_id: str) -> bool:
        """A process on another core takes the signal a moment later; one in a system call (D) when it returns."""
        deadline_s = self._monotonic() + _STOPS_WITHIN_S
        while any(each.state in ("R", "S") for each in self._trees.members(task_id)):
            if self._monotonic() > deadline_s:
                return False
            time.sleep(0.002)
        return True
