"""The guard: from contentions and suspects to corrections, one round at a time.  Pure: no I/O, no system clock.

                 finding                          no finding for recover_s
     calm ─────────────────► contended ──────────────────────────────────► holding
      ▲                       │  ▲  │                                        │ hold_s
      │      nothing left to  │  │  │ a round every watch_s                  ▼
      ├───── do, absolve_s ◄──┘  └──┼──────────── finding ─────────────── releasing
      │                             │                                        │ all released
      └─────────────────────────────┼────────────────────────────────────────┘
                                    ▼
    first round   throttle the top suspect: half of its present use
    each later    evict the most suspicious of those that have been throttled for watch_s in vain,
                  and throttle twice as many as in the round before (1, 2, 4, …)

One suspect is enough for the common case; when it is a group, the doubling throttles all of
it within a few rounds, while whoever was throttled in vain leaves one by one.  Suspects are
ours and guilty by the strategy's score; who scores far less than the top suspect, or hardly
uses CPU, is left alone, also when the top suspect is another framework's.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from serenity.daemon.clock import Clock
from serenity.executor.actions import (
    Action,
    CloseValve,
    Decision,
    Evict,
    OpenValve,
    Relearn,
    Release,
    TaskView,
    Throttle,
    name_of,
)
from serenity.qos.contention import Finding, Suspect
from serenity.wire.kill_record import Step

logger = logging.getLogger(__name__)

# Who scores less than this share of the top suspect's score is not taken for one of its group.
_GUILTY_SHARE = 0.25
# The kernel takes no quota below 1 ms in its usual period of 100 ms.
_LEAST_CORES = 0.01
# Contention that comes back with the release doubles the hold, up to this factor.
_LONGEST_HOLD = 8


class GuardParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds.  Names and defaults are those of table `[executor]` in serenity.toml."""

    watch_s: float = 3.0
    recover_s: float = 3.0
    hold_s: float = 30.0
    step_s: float = 1.0
    step_share: float = 0.1  # Of the allocation, given back at each step.
    absolve_s: float = 10.0
    harmless_cores: float = 0.05
    evictions: int = 10  # At most so many in any `eviction_window_s`.
    eviction_window_s: float = 60.0


@dataclass
class _Held:
    """A task that we have throttled."""

    finding: Finding
    cores: float  # What it may use now.
    low_cores: float  # What it was throttled to.
    use_cores: float  # What it used before.
    since_s: float
    steps: list[Step] = field(default_factory=list)  # The last one's outcome is known later.


@dataclass
class _Episode:
    """A contention, from its first finding to recovery or absolution."""

    began_s: float
    last_seen_s: float
    next_round_s: float
    last_action_s: float
    rounds: int = 0
    budget_said: bool = False


class Guard:
    """Call `decide` at every tick; it returns what is to be done now."""

    def __init__(self, parameters: GuardParameters, clock: Clock) -> None:
        self._parameters = parameters
        self._clock = clock
        self._episode: _Episode | None = None
        self._held: dict[str, _Held] = {}
        self._evicted: set[str] = set()
        self._evictions_s: deque[float] = deque()
        self._hold_until_s = 0.0
        self._next_step_s = 0.0
        self._hold_factor = 1

    def decide(
        self, findings: Sequence[Finding], use: Mapping[str, float], tasks: Mapping[str, TaskView]
    ) -> list[Action]:
        """`use`: cores by task id, NaN or missing where not measured; `tasks`: all of ours that run."""
        for task in [each for each in self._held if each not in tasks]:
            del self._held[task]
        self._evicted &= tasks.keys()
        if findings:
            return self._contended(findings, use, tasks)
        return self._quiet(tasks)

    def stand_down(self) -> list[Action]:
        """Lets go of everything, and forgets the contention that there may be."""
        actions: list[Action] = [Release(task, "corrections are switched off") for task in self._held]
        if self._episode is not None:
            actions.append(OpenValve())
        self._held.clear()
        self._end_episode()
        return actions

    # -- contended ---------------------------------------------------------------------------

    def _contended(
        self, findings: Sequence[Finding], use: Mapping[str, float], tasks: Mapping[str, TaskView]
    ) -> list[Action]:
        now_s = self._clock.monotonic_s()
        worst_first = sorted(findings, key=lambda each: -each.contention.severity)
        guilty_of = {id(each): self._guilty(each, use, tasks) for each in worst_first}
        finding = next((each for each in worst_first if guilty_of[id(each)]), worst_first[0])
        actions: list[Action] = [CloseValve(f"{finding.contention.cause} contention")]
        if self._episode is None:
            self._episode = _Episode(now_s, now_s, now_s, now_s)
            actions += self._tighten(finding, now_s)
        episode = self._episode
        episode.last_seen_s = now_s
        # Whoever is on its way out counts as gone: its leaving may be what was needed.
        leaving = any(tasks[each].being_ended for each in self._evicted)
        # At the threshold and not beyond: on its way back, and nobody should lose a task for that.
        recovering = finding.contention.severity <= 0
        if now_s < episode.next_round_s or leaving or recovering:
            return actions
        done = self._round(finding, guilty_of[id(finding)], use, tasks, now_s)
        if done:
            episode.rounds += 1
            episode.next_round_s = now_s + self._parameters.watch_s
            episode.last_action_s = now_s
            return actions + done
        if self._nothing_left_to_do(finding, guilty_of[id(finding)], tasks, now_s):
            return self._absolve(finding)
        return actions

    def _guilty(self, finding: Finding, use: Mapping[str, float], tasks: Mapping[str, TaskView]) -> list[Suspect]:
        """Ours, running, and about as suspicious as the top suspect; most suspicious first."""
        running = [
            each
            for each in finding.suspects
            if each.container.id not in self._evicted
            and not (each.container.id in tasks and tasks[each.container.id].being_ended)
        ]
        if not running:
            return []
        least = max(_GUILTY_SHARE * running[0].score, 0.0)
        return [
            each
            for each in running
            if each.container.id in tasks
            and each.score >= least
            and each.score > 0
            and not self._harmless(finding, each.container.id, use)
        ]

    def _harmless(self, finding: Finding, task: str, use: Mapping[str, float]) -> bool:
        if finding.contention.cause == "memory" or task in self._held:
            return False
        return use.get(task, math.nan) < self._parameters.harmless_cores

    def _round(
        self,
        finding: Finding,
        guilty: Sequence[Suspect],
        use: Mapping[str, float],
        tasks: Mapping[str, TaskView],
        now_s: float,
    ) -> list[Action]:
        assert self._episode is not None
        if finding.contention.cause == "memory":
            # Memory is not compressible: throttling frees none of it.
            return self._evict(finding, guilty[0].container.id, tasks, now_s) if guilty else []
        fresh = [each.container.id for each in guilty if each.container.id not in self._held]
        in_vain = [
            each.container.id
            for each in guilty
            if each.container.id in self._held
            and now_s - self._held[each.container.id].since_s >= self._parameters.watch_s
        ]
        breadth = 1 << min(self._episode.rounds, 16)
        actions: list[Action] = []
        if in_vain and (self._episode.rounds > 0 or not fresh):
            actions += self._evict(finding, in_vain[0], tasks, now_s)
        for task in fresh[:breadth]:
            actions.append(self._throttle(finding, tasks[task], use.get(task, math.nan), now_s))
        return actions

    def _throttle(self, finding: Finding, task: TaskView, use_cores: float, now_s: float) -> Throttle:
        if math.isnan(use_cores):
            use_cores = task.cpus
        cores = max(_LEAST_CORES, use_cores / 2)
        held = self._held[task.id] = _Held(finding, cores, cores, use_cores, now_s)
        held.steps.append(Step(action=f"throttle to {cores:.2f} cores", at=self._clock.now_s(), outcome=""))
        return Throttle(task.id, cores, use_cores, finding)

    def _evict(self, finding: Finding, task: str, tasks: Mapping[str, TaskView], now_s: float) -> list[Action]:
        assert self._episode is not None
        while self._evictions_s and self._evictions_s[0] <= now_s - self._parameters.eviction_window_s:
            self._evictions_s.popleft()
        if len(self._evictions_s) >= self._parameters.evictions:
            if not self._episode.budget_said:
                logger.warning("%s would be evicted, but %d evictions are spent", task, len(self._evictions_s))
            self._episode.budget_said = True
            return []
        self._evictions_s.append(now_s)
        self._evicted.add(task)
        held = self._held.pop(task, None)
        if held is not None:
            self._conclude(held, tasks[task], f"no recovery in {now_s - held.since_s:.1f} s")
        steps = held.steps if held is not None else []
        last = Step(action="evict", at=self._clock.now_s(), outcome="")
        return [Evict(task, Decision(finding, (*steps, last)))]

    def _tighten(self, finding: Finding, now_s: float) -> list[Action]:
        """The contention is back: what was being released goes back to what had helped."""
        loosened = [(task, held) for task, held in self._held.items() if held.cores > held.low_cores]
        if self._held:
            self._hold_factor = min(_LONGEST_HOLD, self._hold_factor * 2)
        for task, held in loosened:
            logger.info("contention is back: %s is throttled again", task)
            held.cores, held.since_s, held.finding = held.low_cores, now_s, finding
            held.steps.append(
                Step(action=f"throttle to {held.cores:.2f} cores again", at=self._clock.now_s(), outcome="")
            )
        if loosened and self._episode is not None:
            self._episode.next_round_s = now_s + self._parameters.watch_s
        return [Throttle(task, held.cores, held.use_cores, finding) for task, held in loosened]

    def _nothing_left_to_do(
        self, finding: Finding, guilty: Sequence[Suspect], tasks: Mapping[str, TaskView], now_s: float
    ) -> bool:
        assert self._episode is not None
        if guilty:  # Only the budget keeps us from going on.
            return False
        top = next((each for each in finding.suspects if each.container.id not in self._evicted), None)
        if top is not None and top.score > 0 and top.container.id not in tasks:
            return False  # Another framework's; its own executor corrects it.
        return now_s - self._episode.last_action_s >= self._parameters.absolve_s

    def _absolve(self, finding: Finding) -> list[Action]:
        """Nothing that best-effort could give up has helped: it is not the cause."""
        protected = finding.contention.protected
        logger.warning("%s does not recover without best-effort: absolved, relearning", name_of(protected))
        released: list[Action] = [Release(task, "absolved: no recovery") for task in self._held]
        self._held.clear()
        self._end_episode()
        return [*released, Relearn(protected.id), OpenValve()]

    # -- quiet -----------------------------------------------------------------------------

    def _quiet(self, tasks: Mapping[str, TaskView]) -> list[Action]:
        now_s = self._clock.monotonic_s()
        if self._episode is None:
            return self._give_back(tasks, now_s)
        quiet_s = now_s - self._episode.last_seen_s
        if quiet_s < self._parameters.recover_s:
            return [CloseValve("contention, recovering")]
        for task, held in self._held.items():
            self._conclude(held, tasks[task], f"recovered after {self._episode.last_seen_s - held.since_s:.1f} s")
        logger.info("recovered after %.1f s of contention", self._episode.last_seen_s - self._episode.began_s)
        self._hold_until_s = now_s + self._parameters.hold_s * self._hold_factor
        self._end_episode()
        return [OpenValve()]

    def _give_back(self, tasks: Mapping[str, TaskView], now_s: float) -> list[Action]:
        if not self._held:
            self._hold_factor = 1
            return []
        if now_s < max(self._hold_until_s, self._next_step_s):
            return []
        self._next_step_s = now_s + self._parameters.step_s
        actions: list[Action] = []
        for task, held in list(self._held.items()):
            held.cores += self._parameters.step_share * tasks[task].cpus
            if held.cores >= max(held.use_cores, tasks[task].cpus):
                del self._held[task]
                actions.append(Release(task, "released"))
            else:
                actions.append(Throttle(task, held.cores, held.use_cores, held.finding, easing=True))
        return actions

    def _end_episode(self) -> None:
        self._episode = None
        self._evicted.clear()

    @staticmethod
    def _conclude(held: _Held, task: TaskView, outcome: str) -> None:
        """Writes down what the last step on a task has led to."""
        applied = f"{task.correction}; " if task.correction else ""
        held.steps[-1] = Step(action=held.steps[-1].action, at=held.steps[-1].at, outcome=applied + outcome)
