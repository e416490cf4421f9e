"""When best-effort holds more than the slack: CPU limits go down together, memory is freed before there is pressure.

The estimator says with each frame by how much best-effort, of all executors on the node, holds
more than the slack there is.  Every executor then lowers its tasks' CPU to the same share of
their allocation, so that together they fit.  Which task is to leave for memory, all executors rank
alike, and its owner evicts it (guard.make_room).  Pure, but for what it remembers of earlier ticks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from serenity.daemon.clock import Clock
from serenity.executor.guarding.actions import Action, Evict, Freeze, Release, TaskView, Throttle
from serenity.executor.guarding.ladder import LEAST_CORES
from serenity.executor.guarding.suspects import by_overrun, overrun_bytes
from serenity.qos.contention import Cause, Contention, Evidence, Finding, Suspect
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container, Frame
from serenity.wire.messages.node import Overcommitment

# The estimator itself does not tell Mesos of smaller changes: best-effort may well hold that much more.
_LEAST_CPUS = 0.1
_LEAST_MEM_BYTES = 64 << 20
# A limit that moved by less than this share of the allocation is not written.
_MOVED = 0.02
# Memory is taken only by killing, so more than a passing peak must be in the way; and the agent says up to 5 s late
# that a task has gone.
_MEMORY_LASTS_S = 10.0
_LASTS_S = 3.0
_DETECTOR, _STRATEGY = "overcommitment", "overrun"
# What is protected is no container but the slack itself.
_SLACK = Container("slack", PRODUCTION, "slack", math.nan, math.nan, framework="node", task="slack")


class MemoryOverrun:
    """Finds the task that is to leave when best-effort holds more memory than the slack for `_MEMORY_LASTS_S`.

    Ranked over all best-effort rows of the node: most memory beyond its request, then youngest.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lasting = _Lasting(_MEMORY_LASTS_S)
        self._first_seen: dict[str, float] = {}

    def observe(self, frame: Frame) -> None:
        self._first_seen = {name: self._first_seen.get(name, frame.t) for name in frame.ids}

    def decide(
        self, over: Overcommitment, frame: Frame, make_room: Callable[[Finding | None], list[Action]]
    ) -> list[Action]:
        """`make_room`: the guard's, which may evict the first of a finding; None tells it that all fits."""
        self.observe(frame)
        if over.mem_bytes <= _LEAST_MEM_BYTES:
            self._lasting.ends()
            return make_room(None)
        if not self._lasting.holds(self._clock.monotonic_s()):
            return []
        actions = make_room(self._finding(over, frame))
        if any(isinstance(each, Evict) for each in actions):
            self._lasting.ends()
        return actions

    def stand_down(self) -> None:
        """Forgets how long it has lasted: switched on again, it counts from then on."""
        self._lasting.ends()

    def _finding(self, over: Overcommitment, frame: Frame) -> Finding:
        rss = frame.column("rss_bytes")
        rss_bytes = dict(zip(frame.ids, map(float, rss), strict=True))
        rows = [Suspect(each, 0.0) for each in frame.containers if each.role == BEST_EFFORT]
        youngest_first = sorted(rows, key=lambda each: (-self._first_seen[each.container.id], each.container.id))
        suspects = tuple(
            replace(each, score=overrun_bytes(each, rss_bytes)) for each in by_overrun(youngest_first, rss_bytes)
        )
        held_bytes = frame.readings.get("held_mem_bytes", math.nan)
        return _finding("memory", "held_mem_bytes", "bytes", held_bytes, over.mem_bytes, frame.t, suspects)


class SlackLimits:
    """Keeps tasks within the CPU that the slack holds, beneath whatever the guard does to them.

    While best-effort holds more than the slack, each task may use ``cpus * slack / held``: down at
    once, up in the guard's small steps, and without a limit again when all fits.
    """

    def __init__(self, step_s: float, step_share: float, clock: Clock) -> None:
        """`step_share` of the allocation is given back every `step_s`."""
        self._step_s = step_s
        self._step_share = step_share
        self._clock = clock
        self._lasting = _Lasting(_LASTS_S)
        self._share = 1.0  # Of its allocation, for every task.
        self._next_step_s = 0.0
        self._finding: Finding | None = None
        self._corrected: dict[str, Throttle | Freeze] = {}  # What the guard has done, and not undone.
        self._in_force: dict[str, float] = {}  # Cores, by anybody's word; missing: no limit.

    def bound(
        self, actions: Sequence[Action], over: Overcommitment, frame: Frame, tasks: Mapping[str, TaskView]
    ) -> list[Action]:
        """The guard's actions within the limits, and what else the limits want done."""
        self._move(over, frame, tasks)
        bounded = [self._followed(each, tasks) for each in actions]
        for kept in (self._corrected, self._in_force):
            for gone in [each for each in kept if each not in tasks]:
                del kept[gone]
        for task in tasks.values():
            if not task.being_ended and not isinstance(self._corrected.get(task.id), Freeze):
                bounded += self._adjusted(task, frame)
        return bounded

    def stand_down(self) -> list[Action]:
        """Lets go of everything."""
        released: list[Action] = [Release(task, "corrections are switched off") for task in self._in_force]
        self._in_force.clear()
        self._corrected.clear()
        self._lasting.ends()
        self._share = 1.0
        return released

    def _move(self, over: Overcommitment, frame: Frame, tasks: Mapping[str, TaskView]) -> None:
        """Brings the share nearer to what fits."""
        now_s = self._clock.monotonic_s()
        held = frame.readings.get("held_cpus", math.nan)
        if not held > 0:
            held = sum(each.cpus for each in tasks.values())
        if over.cpus <= _LEAST_CPUS or not held > 0:
            self._lasting.ends()
            fits = 1.0
        elif self._lasting.holds(now_s):
            fits = max(0.0, 1.0 - over.cpus / held)
            self._finding = _finding("overload", "held_cpus", "cpus", held, over.cpus, frame.t, ())
        else:
            return
        if fits <= self._share:
            self._share = fits
        elif now_s >= self._next_step_s:
            self._share = min(fits, self._share + self._step_share)
            self._next_step_s = now_s + self._step_s

    def _followed(self, action: Action, tasks: Mapping[str, TaskView]) -> Action:
        """The guard's action, within the limit; and a note of what it has done."""
        if isinstance(action, Throttle):
            self._corrected[action.task] = action
            action = replace(action, cores=min(action.cores, self._limit(tasks.get(action.task))))
            self._in_force[action.task] = action.cores
        elif isinstance(action, Freeze):
            self._corrected[action.task] = action
        elif isinstance(action, Release | Evict):
            self._corrected.pop(action.task, None)
            self._in_force.pop(action.task, None)
        return action

    def _limit(self, task: TaskView | None) -> float:
        """Cores; infinite: none."""
        if self._share >= 1.0 or task is None:
            return math.inf
        return max(LEAST_CORES, self._share * task.cpus)

    def _adjusted(self, task: TaskView, frame: Frame) -> list[Action]:
        """Brings a task to what it may use, where it is not there yet."""
        limit, corrected = self._limit(task), self._corrected.get(task.id)
        wanted = corrected.cores if isinstance(corrected, Throttle) else math.inf
        cores, before = min(limit, wanted), self._in_force.get(task.id, math.inf)
        if cores == before or abs(cores - before) <= _MOVED * task.cpus:
            return []
        if math.isinf(cores):
            del self._in_force[task.id]
            return [Release(task.id, "the slack holds all of best-effort again")]
        self._in_force[task.id] = cores
        if isinstance(corrected, Throttle):
            return [replace(corrected, cores=cores, easing=True)]
        assert self._finding is not None  # There is no limit without a reason.
        use_cores = _used(task, frame)
        return [Throttle(task.id, cores, use_cores, self._finding, easing=not math.isinf(before))]


def _used(task: TaskView, frame: Frame) -> float:
    """Measured use, but never less than the allocation: a limited task's lower use shows only the limit."""
    row = frame.index(task.id)
    used = float(frame.column("cpu")[row]) if row is not None else math.nan
    return used if used > task.cpus else task.cpus


def _finding(
    cause: Cause, signal: str, unit: str, held: float, over: float, t: float, suspects: tuple[Suspect, ...]
) -> Finding:
    slack = held - over
    evidence = Evidence(
        signal=signal,
        unit=unit,
        observed=held,
        baseline=slack,
        deviation=over / slack if slack > 0 else math.inf,
        threshold=0.0,
        window_start=t,
        window_end=t,
        samples=1,
        missing=0,
    )
    return Finding(Contention(cause, _SLACK, 1.0, evidence, _DETECTOR), _STRATEGY, suspects)


class _Lasting:
    """Whether something has held for a while without a break."""

    def __init__(self, for_s: float) -> None:
        self._for_s = for_s
        self._since_s: float | None = None

    def holds(self, now_s: float) -> bool:
        """It holds now; whether it has for long enough."""
        if self._since_s is None:
            self._since_s = now_s
        return now_s - self._since_s >= self._for_s

    def ends(self) -> None:
        self._since_s = None
