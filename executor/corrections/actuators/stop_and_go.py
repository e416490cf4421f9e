"""SIGSTOP and SIGCONT to whole trees: what can be done to a task without any rights.

Each period of 100 ms a throttled task runs for its share; a frozen one does not run, and is
looked at every second for processes that somebody has continued.  Main's loop calls `turn`
when `next_s` has come; a late turn makes a longer stop or run, never a lost one.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

from serenity.daemon.clock import Clock
from serenity.executor.corrections.actuators import ActuatorError
from serenity.executor.tasks import processes
from serenity.executor.tasks.trees import Trees

_PERIOD_S = 0.1
_FROZEN_AGAIN_S = 1.0
_STOPS_WITHIN_S = 0.1


@dataclass
class _Cycle:
    next_s: float
    run: float = 1.0  # Share of time.
    frozen: bool = False
    stopped: bool = False

    @property
    def idle(self) -> bool:
        return self.run >= 1.0 and not self.frozen


class StopAndGo:
    """Whatever stops and continues a task's processes does it here: two such would undo each other's work."""

    def __init__(self, trees: Trees, clock: Clock) -> None:
        self._trees = trees
        self._clock = clock
        self._cycles: dict[str, _Cycle] = {}

    def throttle(self, task_id: str, run: float) -> None:
        """`run`: share of time, above 0.  Raises ActuatorError: the task does not stop; then nothing has changed."""
        known = task_id in self._cycles
        cycle = self._cycle(task_id)
        cycle.run = run
        if cycle.idle:
            self._let_go_if_idle(task_id, cycle)
        elif not known and not self._stop(task_id, cycle):
            self.unthrottle(task_id)
            raise ActuatorError("the task's processes do not stop")

    def unthrottle(self, task_id: str) -> None:
        cycle = self._cycles.get(task_id)
        if cycle is not None:
            cycle.run = 1.0
            self._let_go_if_idle(task_id, cycle)

    def freeze(self, task_id: str) -> None:
        """Raises ActuatorError: the task does not stop; then nothing has changed."""
        cycle = self._cycle(task_id)
        cycle.frozen = True
        if not self._stop(task_id, cycle):
            self.thaw(task_id)
            raise ActuatorError("the task's processes do not stop")

    def thaw(self, task_id: str) -> None:
        cycle = self._cycles.get(task_id)
        if cycle is not None:
            cycle.frozen = False
            cycle.next_s = self._clock.monotonic_s()
            self._let_go_if_idle(task_id, cycle)

    @property
    def next_s(self) -> float | None:
        """When `turn` is to be called next, monotonic; None while no task is stopped at times."""
        return min((cycle.next_s for cycle in self._cycles.values()), default=None)

    def turn(self) -> None:
        now_s = self._clock.monotonic_s()
        for task_id, cycle in self._cycles.items():
            if now_s < cycle.next_s:
                continue
            if cycle.frozen or not cycle.stopped:
                self._stop_now(task_id, cycle, now_s)
            else:
                self._trees.signal(task_id, signal.SIGCONT)
                cycle.stopped = False
                cycle.next_s = now_s + cycle.run * _PERIOD_S

    def _cycle(self, task_id: str) -> _Cycle:
        return self._cycles.setdefault(task_id, _Cycle(self._clock.monotonic_s()))

    def _let_go_if_idle(self, task_id: str, cycle: _Cycle) -> None:
        if cycle.idle:
            del self._cycles[task_id]
            self._trees.signal(task_id, signal.SIGCONT)

    def _stop_now(self, task_id: str, cycle: _Cycle, now_s: float) -> None:
        self._trees.signal(task_id, signal.SIGSTOP)
        cycle.stopped = True
        cycle.next_s = now_s + (_FROZEN_AGAIN_S if cycle.frozen else (1.0 - cycle.run) * _PERIOD_S)

    def _stop(self, task_id: str, cycle: _Cycle) -> bool:
        """Whether it stops: a process in a system call (D) counts as stopped; one forked meanwhile is left out."""
        deadline_s = self._clock.monotonic_s() + _STOPS_WITHIN_S
        self._stop_now(task_id, cycle, self._clock.monotonic_s())
        while going := [each.process.pid for each in self._trees.members(task_id) if each.state in ("R", "S")]:
            if self._clock.monotonic_s() > deadline_s:
                return all(map(processes.is_stopping, going))
            time.sleep(0.002)  # On another core it takes the signal a moment later.
            self._trees.signal(task_id, signal.SIGSTOP)
        return True
