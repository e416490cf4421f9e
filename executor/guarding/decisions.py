"""From frames to actions: the pipeline, what other executors say, the guard, and what the slack holds."""

from __future__ import annotations

import math
from collections.abc import Mapping

from serenity.executor.guarding.accusations import Accusations
from serenity.executor.guarding.actions import Accuse, Action, Hint, OpenValve, Relearn, TaskView
from serenity.executor.guarding.guard import Guard
from serenity.executor.guarding.overcommitment import MemoryOverrun, SlackLimits
from serenity.qos.frame import Frame
from serenity.qos.pipeline import Pipeline
from serenity.wire.messages.node import Overcommitment
from serenity.wire.messages.statistics import KnownJobs

# A framework holds a hint for five times as long.
_HINT_EVERY_S = 60.0
# A task that has just ended belongs to no executor any more, and is still in the newest frame.
_UNOWNED_S = 3.0
# An answer may be a tick late; a task that goes unmentioned for longer has an owner by now.
_SILENT_S = 2.5


class Decisions:
    """One thread's, the tick's; no I/O."""

    def __init__(
        self,
        pipeline: Pipeline,
        guard: Guard,
        accusations: Accusations,
        memory: MemoryOverrun,
        limits: SlackLimits,
    ) -> None:
        self._pipeline = pipeline
        self._guard = guard
        self._accusations = accusations
        self._memory = memory
        self._limits = limits
        self._accused: dict[str, Accuse] = {}  # At the last tick, by task.
        self._unowned: dict[str, tuple[float, float]] = {}  # Nobody owns it since, and as of; in frames' time.
        self._hinted: dict[str, float] = {}  # When; by task, too.

    def observe(self, frame: Frame) -> None:
        """A frame of the past: learnt from, and nothing else."""
        self._pipeline.step(frame)
        self._memory.observe(frame)

    def decide(self, frame: Frame, over: Overcommitment, tasks: Mapping[str, TaskView]) -> list[Action]:
        """`tasks`: all of ours that run."""
        findings = self._accusations.with_own(self._pipeline.step(frame), tasks)
        use = {row: cores for row, cores in _column(frame, "cpu").items() if row in tasks}
        actions = self._guard.decide(findings, use, tasks, _column(frame, "rss_bytes"))
        actions += self._memory.decide(over, frame, lambda finding: self._guard.make_room(finding, tasks))
        actions = self._limits.bound(actions, over, frame, tasks)
        for each in actions:
            if isinstance(each, Relearn):
                self._pipeline.relearn(each.container_id)
                self._accusations.absolved(each.container_id)
        return actions + self._hints(actions, frame.t)

    def know(self, known: KnownJobs) -> None:
        self._pipeline.know(known.jobs)

    def stand_down(self, frame: Frame) -> list[Action]:
        """Corrections are off: lets go of everything; signals and baselines are followed all the same."""
        self.observe(frame)
        self._memory.stand_down()
        return self._guard.stand_down() + self._limits.stand_down()

    def _hints(self, actions: list[Action], at: float) -> list[Action]:
        """Tasks that were accused in vain for a while; said again while that lasts, for a message may be lost."""
        self._hinted = {task: then for task, then in self._hinted.items() if 0 <= at - then < _HINT_EVERY_S}
        unowned = self._accusations.take_unowned() & self._accused.keys()
        known = {
            task: (since, last)
            for task, (since, last) in self._unowned.items()
            if task in self._accused and since <= at and (task in unowned or at - last <= _SILENT_S)
        }
        self._unowned = known | {task: (known[task][0] if task in known else at, at) for task in unowned}
        vain = [
            self._accused[task]
            for task in unowned
            if at - self._unowned[task][0] >= _UNOWNED_S and task not in self._hinted
        ]
        self._hinted |= {each.suspect.id: at for each in vain}
        self._accused = {each.suspect.id: each for each in actions if isinstance(each, Accuse)}
        if any(isinstance(each, OpenValve) for each in actions):
            self._hinted.clear()
        return [Hint(each.suspect, each.finding) for each in vain]


def _column(frame: Frame, name: str) -> dict[str, float]:
    """What was measured, by row."""
    values = frame.column(name)
    return {each.id: float(values[i]) for i, each in enumerate(frame.containers) if not math.isnan(values[i])}
