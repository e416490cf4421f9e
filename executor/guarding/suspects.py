"""Who is to answer for a contention: of the suspects that a strategy ranked, those that are ours to correct.  Pure.

One rule decides who acts where several executors see the same contention: the one that owns
the top suspect.  The others watch, and tell it; none corrects a task of its own instead.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from serenity.executor.guarding.actions import TaskView
from serenity.qos.contention import Finding, Suspect

# A task that scores less than this share of the top suspect's score is not taken for one of its group.
_GUILTY_SHARE = 0.25
# Causes that hardly need CPU: a task that uses none of it may do this harm all the same.
_WITHOUT_CPU = ("io",)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the guard knows at one tick.

    `use`: cores, `rss_bytes`: resident memory, by row, NaN or missing where not measured;
    `tasks`: all of ours that run; `container`: our own, which the rows of our tasks name.
    """

    now_s: float  # Monotonic.
    at: float  # Seconds since the epoch.
    use: Mapping[str, float]
    rss_bytes: Mapping[str, float]
    tasks: Mapping[str, TaskView]
    container: str = ""

    def running_on(self, task: str, least_cores: float) -> bool:
        """Whether the task is known to use more than that."""
        return self.use.get(task, math.nan) > least_cores


@dataclass(frozen=True, slots=True)
class Verdict:
    """`guilty`: ours, most suspicious first.  `foreign`: the top suspect, where it is another executor's."""

    guilty: tuple[Suspect, ...] = ()
    foreign: Suspect | None = None


def judge(finding: Finding, seen: Seen, gone: Collection[str], held: Collection[str], harmless_cores: float) -> Verdict:
    """`gone`: evicted or frozen in vain, though still there; `held`: held down by us, so that they use little."""
    memory = finding.contention.cause == "memory"
    spares = 0.0 if finding.contention.cause in _WITHOUT_CPU else harmless_cores
    ranked = by_overrun(finding.suspects, seen.rss_bytes) if memory else finding.suspects
    running = [each for each in ranked if each.container.id not in gone and not _being_ended(each, seen)]
    if not running:
        return Verdict()
    top = running[0]
    if top.container.id not in seen.tasks:
        return Verdict(foreign=None if has_just_ended(top, seen.container) or not _suspicious(top, seen) else top)
    ours = [each for each in running if each.container.id in seen.tasks and _suspicious(each, seen)]
    if memory:
        return Verdict(tuple(ours))
    least = _GUILTY_SHARE * top.score
    return Verdict(
        tuple(
            each
            for each in ours
            if each.score >= least
            and (each.container.id in held or not seen.use.get(each.container.id, math.nan) < spares)
        )
    )


def has_just_ended(suspect: Suspect, own_container: str) -> bool:
    """The suspect is none of our tasks, though in our container: the next frame will tell."""
    return bool(own_container) and suspect.container.container == own_container


def by_overrun(suspects: Iterable[Suspect], rss_bytes: Mapping[str, float]) -> list[Suspect]:
    """The task that holds the most memory beyond its request goes first; then as they were ranked."""
    return sorted(suspects, key=lambda each: -overrun_bytes(each, rss_bytes))


def overrun_bytes(suspect: Suspect, rss_bytes: Mapping[str, float]) -> float:
    over = rss_bytes.get(suspect.container.id, math.nan) - suspect.container.mem_bytes
    return max(0.0, over) if math.isfinite(over) else 0.0


def _being_ended(suspect: Suspect, seen: Seen) -> bool:
    task = seen.tasks.get(suspect.container.id)
    return task is not None and task.being_ended


def _suspicious(suspect: Suspect, seen: Seen) -> bool:
    return suspect.score > 0 or overrun_bytes(suspect, seen.rss_bytes) > 0
