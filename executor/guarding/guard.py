"""The guard: from contentions and suspects to corrections, one round at a time.  Pure: no I/O, no system clock.

                 finding                          no finding for recover_s
     calm ─────────────────► contended ──────────────────────────────────► holding
      ▲                       │  ▲  │                                        │ hold_s
      │    nothing left to    │  │  │ a round every watch_s                  ▼
      ├──── give, absolve_s ◄─┘  └──┼──────────── finding ─────────────── releasing
      │                             │                                        │ all released
      └─────────────────────────────┼────────────────────────────────────────┘
                                    ▼
    first round   the top suspect down to half of its present use
    each later    all that were held for watch_s in vain a rung down (ladder.py), and
                  twice as many new suspects to half as in the round before (1, 2, 4, …)

One suspect is enough for the common case; when it is a group, the doubling has all of it
within a few rounds, and six equal aggressors are frozen within five.  Suspects are tasks of ours that
are guilty by the strategy's score; a task that scores far less than the top suspect, or hardly uses
CPU, is left alone, and so are all our tasks when the top suspect is another executor's (suspects.py).
A task that is frozen in vain stays frozen, and it is the next suspect's turn.

CPU is given back after a while: frozen tasks are thawed to their deepest throttle, and every task
gets a tenth of its allocation a step.  If the contention comes back, all that was given back is
taken again at once, also from tasks released in the last `hold_s`.  A task that hurts as soon as it
is thawed, or for the `relapses`-th time, is evicted: here it would only crawl.  When all suspects are
frozen and production does not recover, best-effort is not the cause: all are let go, and the
baseline is learnt anew.

Which jobs were suspected rightly before is remembered in the ranking (strategies/combined.py, part
``history``) and not here; `Relearn` tells it which were suspected wrongly.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from serenity.daemon.clock import Clock
from serenity.executor.guarding.actions import (
    Accuse,
    Action,
    CloseValve,
    Concluded,
    Decision,
    Evict,
    Freeze,
    OpenValve,
    Relearn,
    Release,
    TaskView,
    Throttle,
    name_of,
)
from serenity.executor.guarding.evictions import EVICT, Budget, Pending
from serenity.executor.guarding.ladder import Held, Rung, cores_at, highest_rung
from serenity.executor.guarding.suspects import Seen, Verdict, has_just_ended, judge
from serenity.qos.contention import Finding
from serenity.wire.messages.corrections import RECOVERED
from serenity.wire.messages.kill_record import Step

logger = logging.getLogger(__name__)

# Contention that comes back with the release doubles the hold, up to this factor.
_LONGEST_HOLD = 8
# A tick comes a little early or late; a round is not put off by a whole one for that.
_EARLY_S, _EARLY_SHARE = 0.5, 0.25


class GuardParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds.  Names and defaults are those of table `[executor]` in serenity.toml."""

    watch_s: float = 3.0
    recover_s: float = 3.0
    hold_s: float = 30.0
    step_s: float = 1.0
    step_share: float = 0.1  # Of the allocation, given back at each step.
    absolve_s: float = 10.0
    relapses: int = 2  # Contention that comes back this often as a task is given back evicts it.
    harmless_cores: float = 0.05
    evictions: int = 10  # At most so many in any `eviction_window_s`.
    eviction_window_s: float = 60.0
    policy: dict[str, str] = {}  # Cause to how far a task may be taken down for it: see `ladder.HIGHEST`.


@dataclass
class _Episode:
    """A contention, from its first finding to recovery or absolution."""

    began_s: float
    last_seen_s: float
    next_round_s: float
    last_action_s: float
    well_since_s: float | None = None
    rounds: int = 0
    held_back: str = ""  # What keeps us from going on; said once.


class Guard:
    """Call `decide` at every tick; it returns what is to be done now."""

    def __init__(self, parameters: GuardParameters, clock: Clock, container: str = "") -> None:
        """`container`: our own, by which the rows of our tasks are known even after a task has ended."""
        self._parameters = parameters
        self._clock = clock
        self._container = container
        self._watch_s = parameters.watch_s - min(_EARLY_S, _EARLY_SHARE * parameters.watch_s)
        self._episode: _Episode | None = None
        self._held: dict[str, Held] = {}
        self._released: dict[str, tuple[float, Held]] = {}  # When, within the last `hold_s`.
        self._evicted: set[str] = set()  # In this episode, and still there.
        self._budget = Budget(parameters.evictions, parameters.eviction_window_s)
        self._outcomes = Pending()
        self._outcomes_of_room = Pending()
        self._hold_until_s = 0.0
        self._next_step_s = 0.0
        self._hold_factor = 1

    def decide(
        self,
        findings: Sequence[Finding],
        use: Mapping[str, float],
        tasks: Mapping[str, TaskView],
        rss_bytes: Mapping[str, float] | None = None,
    ) -> list[Action]:
        """`use`, `rss_bytes`: cores and bytes by row, NaN or missing where not measured; `tasks`: ours that run."""
        seen = self._seen(use, tasks, rss_bytes or {})
        stays = {name for name, each in tasks.items() if not each.being_ended}
        self._held = {task: held for task, held in self._held.items() if task in stays}
        since_s = seen.now_s - self._parameters.hold_s
        self._released = {task: at for task, at in self._released.items() if task in stays and at[0] > since_s}
        self._evicted &= tasks.keys()
        return self._contended(findings, seen) if findings else self._quiet(seen)

    def make_room(self, finding: Finding | None, tasks: Mapping[str, TaskView]) -> list[Action]:
        """Best-effort holds more memory than the slack: evicts the first suspect, if it is ours.  None: it fits."""
        now_s = self._clock.monotonic_s()
        if finding is None:
            return list(self._outcomes_of_room.helped(now_s))
        actions: list[Action] = list(self._outcomes_of_room.in_vain(now_s))
        there = [each.container.id for each in finding.suspects if each.container.id not in self._evicted]
        if not there:
            return actions
        if there[0] not in tasks:
            other = next(each for each in finding.suspects if each.container.id == there[0])
            ended = has_just_ended(other, self._container)
            return actions if ended else [*actions, Accuse(other.container, finding)]
        if tasks[there[0]].being_ended or highest_rung(self._parameters.policy, "memory") < Rung.EVICTED:
            return actions
        return actions + self._evict(finding, there[0], self._seen({}, tasks, {}), self._outcomes_of_room)

    def stand_down(self) -> list[Action]:
        """Lets go of everything, and forgets the contention that there may be."""
        actions: list[Action] = [Release(task, "corrections are switched off") for task in self._held]
        if self._episode is not None:
            actions.append(OpenValve())
        self._held.clear()
        self._released.clear()
        self._outcomes.forget()
        self._outcomes_of_room.forget()
        self._end_episode()
        return actions

    def _seen(self, use: Mapping[str, float], tasks: Mapping[str, TaskView], rss_bytes: Mapping[str, float]) -> Seen:
        return Seen(self._clock.monotonic_s(), self._clock.now_s(), use, rss_bytes, tasks, self._container)

    # -- contended ---------------------------------------------------------------------------

    def _contended(self, findings: Sequence[Finding], seen: Seen) -> list[Action]:
        now_s = seen.now_s
        judged = [
            (each, self._judge(each, seen)) for each in sorted(findings, key=lambda each: -each.contention.severity)
        ]
        finding, verdict = next((each for each in judged if each[1].guilty), judged[0])
        actions: list[Action] = [CloseValve(f"{finding.contention.cause} contention")]
        actions += [Accuse(each.foreign.container, found) for found, each in judged if each.foreign is not None]
        if self._episode is None:
            self._episode = _Episode(now_s, now_s, now_s, now_s)
            actions += self._take_back(finding, verdict, seen, self._episode)
        episode = self._episode
        episode.last_seen_s, episode.well_since_s = now_s, None
        # A task on its way out counts as gone: its leaving may be what was needed.
        leaving = any(seen.tasks[each].being_ended for each in self._evicted)
        # At the threshold and not beyond it production is on its way back, and no job should lose a task for that.
        recovering = finding.contention.severity <= 0
        if now_s < episode.next_round_s or leaving or recovering:
            return actions
        done = self._round(finding, verdict, seen, episode)
        if done:
            episode.rounds += 1
            episode.next_round_s = now_s + self._watch_s
            episode.last_action_s = now_s
            return [*actions, *self._outcomes.in_vain(now_s), *done]
        nothing_left = not verdict.guilty and verdict.foreign is None
        if nothing_left and now_s - episode.last_action_s >= self._parameters.absolve_s:
            return self._absolve(finding, seen)
        return actions

    def _judge(self, finding: Finding, seen: Seen) -> Verdict:
        gone = set(self._evicted)
        if finding.contention.cause != "memory":  # Frozen tasks keep their memory.
            gone |= {task for task in self._held if self._gives_nothing_more(task, seen)}
        return judge(finding, seen, gone, self._held, self._parameters.harmless_cores)

    def _round(self, finding: Finding, verdict: Verdict, seen: Seen, episode: _Episode) -> list[Action]:
        highest = highest_rung(self._parameters.policy, finding.contention.cause)
        guilty = [each.container.id for each in verdict.guilty]
        if guilty and highest is Rung.NOTHING:
            self._say_once(episode, f"the policy for {finding.contention.cause} allows nothing")
            return []
        if finding.contention.cause == "memory":
            # Memory is not compressible: throttling frees none of it.
            return self._evict(finding, guilty[0], seen, self._outcomes) if guilty else []
        fresh = [task for task in guilty if task not in self._held]
        # A task held since an earlier contention was corrected enough for that one: new suspects go first.
        in_vain = [task for task in guilty if task in self._held] if episode.rounds > 0 or not fresh else []
        actions: list[Action] = []
        evicting = False
        for task in in_vain:
            rung = self._next_rung(task, seen)
            if rung > highest:
                self._say_once(episode, f"the policy for {finding.contention.cause} lets {task} be taken no further")
            elif rung is Rung.EVICTED and not evicting:
                evicted = self._evict(finding, task, seen, self._outcomes)
                evicting = bool(evicted)
                actions += evicted
            elif Rung.NOTHING < rung < Rung.EVICTED:
                actions += self._take_down(task, rung, finding, seen)
        for task in fresh[: 1 << min(episode.rounds, 16)]:
            actions += self._hold(task, finding, seen)
        return actions

    def _next_rung(self, task: str, seen: Seen) -> Rung:
        """Where a task that is held goes now; NOTHING: nowhere, it is still watched."""
        held = self._held[task]
        return Rung.NOTHING if seen.now_s - held.since_s < self._watch_s else Rung(held.rung + 1)

    def _gives_nothing_more(self, task: str, seen: Seen) -> bool:
        """It was frozen for a while in vain, and does stand still: the contention is not its doing alone."""
        held = self._held[task]
        watched = seen.now_s - held.since_s >= self._watch_s
        return held.frozen and watched and not seen.running_on(task, self._parameters.harmless_cores)

    def _hold(self, task: str, finding: Finding, seen: Seen) -> list[Action]:
        use_cores = seen.use.get(task, seen.tasks[task].cpus)
        if not use_cores >= 0:  # NaN.
            use_cores = seen.tasks[task].cpus
        self._held[task] = Held(finding, Rung.HALF, cores_at(Rung.HALF, use_cores), use_cores, seen.now_s)
        return self._take_down(task, Rung.HALF, finding, seen)

    def _take_down(self, task: str, rung: Rung, finding: Finding, seen: Seen, again: bool = False) -> list[Action]:
        held = self._held[task]
        concluded = self._in_vain(task, held, seen)
        held.finding = finding
        held.take_down(rung, seen.now_s, seen.at, again)
        if held.frozen:
            return [*concluded, Freeze(task, finding)]
        return [*concluded, Throttle(task, held.cores, held.use_cores, finding)]

    def _evict(self, finding: Finding, task: str, seen: Seen, outcomes: Pending) -> list[Action]:
        if not self._budget.left(seen.now_s):
            if self._episode is not None:
                self._say_once(self._episode, f"{self._budget.most} evictions are spent: {task} stays")
            return []
        self._budget.spend(seen.now_s)
        self._evicted.add(task)
        outcomes.note(task, seen.at, seen.now_s)
        held = self._held.pop(task, None)
        concluded = self._in_vain(task, held, seen) if held is not None else []
        steps = held.steps if held is not None else []
        last = Step(action=EVICT, at=seen.at, outcome="")
        return [*concluded, Evict(task, Decision(finding, (*steps, last)))]

    def _take_back(self, finding: Finding, verdict: Verdict, seen: Seen, episode: _Episode) -> list[Action]:
        """The contention is back: what was being given back is taken down again to what had helped."""
        self._held |= {task: held for task, (_, held) in self._released.items()}
        self._released.clear()
        if self._held:
            self._hold_factor = min(_LONGEST_HOLD, self._hold_factor * 2)
        loosened = {task: held for task, held in self._held.items() if held.loosened}
        top = verdict.guilty[0].container.id if verdict.guilty else None
        if loosened and (top is None or top in self._held):  # A new suspect is taken down beside them, without waiting.
            episode.next_round_s = seen.now_s + self._watch_s
        highest = highest_rung(self._parameters.policy, finding.contention.cause)
        if highest is Rung.NOTHING:
            return []
        actions: list[Action] = []
        for task, held in loosened.items():
            logger.info("contention is back as %s is given back", task)
            actions.append(self._conclude(task, held, "contention came back", seen))
            held.relapses += 1
            incorrigible = held.thawed or held.relapses >= self._parameters.relapses
            rung = Rung.FROZEN if held.thawed else held.rung
            evicted: list[Action] = []
            if task == top and incorrigible and highest is Rung.EVICTED:
                evicted = self._evict(finding, task, seen, self._outcomes)
            actions += evicted or self._take_down(task, min(rung, highest), finding, seen, again=True)
        return actions

    def _absolve(self, finding: Finding, seen: Seen) -> list[Action]:
        """Nothing that best-effort could give up has helped: best-effort is not the cause."""
        protected = finding.contention.protected
        logger.warning("%s does not recover without best-effort: absolved, relearning", name_of(protected))
        concluded = [each for task, held in self._held.items() for each in self._in_vain(task, held, seen)]
        released = [Release(task, "absolved: no recovery") for task in self._held]
        self._held.clear()
        outcomes = self._outcomes.in_vain(seen.now_s)
        self._end_episode()
        return [*concluded, *outcomes, *released, Relearn(protected.id), OpenValve()]

    # -- quiet -----------------------------------------------------------------------------

    def _quiet(self, seen: Seen) -> list[Action]:
        episode = self._episode
        if episode is None:
            return self._give_back(seen)
        if episode.well_since_s is None:
            episode.well_since_s = seen.now_s
        if seen.now_s - episode.last_seen_s < self._parameters.recover_s:
            return [CloseValve("contention, recovering")]
        well_since_s = episode.well_since_s
        concluded: list[Action] = [
            self._conclude(task, held, f"{RECOVERED} {well_since_s - held.since_s:.1f} s", seen)
            for task, held in self._held.items()
            if not held.steps[-1].outcome
        ]
        logger.info("recovered after %.1f s of contention", well_since_s - episode.began_s)
        self._hold_until_s = seen.now_s + self._parameters.hold_s * self._hold_factor
        self._end_episode()
        return [*concluded, *self._outcomes.helped(well_since_s), OpenValve()]

    def _give_back(self, seen: Seen) -> list[Action]:
        if not self._held:
            if not self._released:
                self._hold_factor = 1
            return []
        if seen.now_s < max(self._hold_until_s, self._next_step_s):
            return []
        thawing = any(held.frozen for held in self._held.values())
        # What a thaw does is looked at before more is given.
        self._next_step_s = seen.now_s + (self._parameters.watch_s if thawing else self._parameters.step_s)
        actions: list[Action] = []
        for task, held in list(self._held.items()):
            if thawing and not held.frozen:
                continue
            cpus = seen.tasks[task].cpus
            step = self._parameters.step_share * cpus
            cores = cores_at(Rung.DEEP, held.use_cores) if held.frozen else held.cores + step
            held.loosen(cores, seen.at)
            if cores >= max(held.use_cores, cpus):
                actions += [self._conclude(task, held, "released", seen), Release(task, "released")]
                self._released[task] = seen.now_s, self._held.pop(task)
            else:
                actions.append(Throttle(task, cores, held.use_cores, held.finding, easing=True))
        return actions

    def _end_episode(self) -> None:
        self._episode = None
        self._evicted.clear()

    def _in_vain(self, task: str, held: Held, seen: Seen) -> list[Action]:
        if not held.steps or held.steps[-1].outcome:
            return []
        return [self._conclude(task, held, f"no recovery in {seen.now_s - held.since_s:.1f} s", seen)]

    @staticmethod
    def _conclude(task: str, held: Held, outcome: str, seen: Seen) -> Concluded:
        """Writes down what the last step on a task has led to, and what it was done with."""
        applied = seen.tasks[task].correction if task in seen.tasks else ""
        return Concluded(task, held.conclude(f"{applied}; {outcome}" if applied else outcome))

    @staticmethod
    def _say_once(episode: _Episode, what: str) -> None:
        if what != episode.held_back:
            logger.warning("%s", what)
        episode.held_back = what
