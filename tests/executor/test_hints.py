"""When an executor gives a hint: a suspect that nobody on the node owns, said again each minute while it lasts."""

from __future__ import annotations

import numpy as np
import pytest

from serenity.executor.guarding.accusations import Accusations
from serenity.executor.guarding.actions import Accuse, Action, Hint, OpenValve
from serenity.executor.guarding.decisions import Decisions
from serenity.executor.guarding.overcommitment import MemoryOverrun, SlackLimits
from serenity.qos.frame import Frame
from serenity.wire.messages.node import Overcommitment, Unowned
from tests.executor.guarded import finding
from tests.manual_clock import ManualClock

NOTHING_OVER = Overcommitment(cpus=0.0, mem_bytes=0.0)


class Pipeline:
    def step(self, frame):
        return []


class Guard:
    """Always of the same mind."""

    def __init__(self):
        self.actions: list[Action] = []

    def decide(self, findings, use, tasks, rss_bytes):
        return list(self.actions)

    def make_room(self, finding, tasks):
        return []


class Ticks:
    """Ticks on a node where nobody owns any task."""

    def __init__(self):
        clock = ManualClock(1000.0)
        self.guard = Guard()
        self._accusations = Accusations(clock, "here")
        self._decisions = Decisions(
            Pipeline(), self.guard, self._accusations, MemoryOverrun(clock), SlackLimits(1.0, 0.1, clock)
        )

    def tick(self, t, *suspects, owned=False):
        found = [finding((each, 1.0), severity=0.7) for each in suspects]
        self.guard.actions = [Accuse(each.suspects[0].container, each) for each in found]
        return self.after(t, *(() if owned else suspects))

    def after(self, t, *unowned):
        actions = self._decisions.decide(Frame(t, (), {"cpu": np.zeros(0)}), NOTHING_OVER, {})
        for each in unowned:
            self._accusations.unowned(Unowned(task_id=each))
        return [(each.suspect.id, each.finding.contention.severity) for each in actions if isinstance(each, Hint)]


@pytest.fixture
def ticks():
    return Ticks()


def told_at(ticks, seconds, *suspects, owned=False):
    return {t: told for t in seconds if (told := [who for who, _ in ticks.tick(float(t), *suspects, owned=owned)])}


def test_a_suspect_that_nobody_owns_is_told_and_again_each_minute(ticks):
    assert told_at(ticks, range(200), "spark") == {t: ["spark"] for t in (4, 64, 124, 184)}
    assert ticks.tick(300.0, "spark") == [("spark", 0.7)]


def test_who_has_just_ended_is_nobodys_and_no_hint(ticks):
    assert told_at(ticks, range(3), "ended") == {}
    ticks.guard.actions = []
    assert [ticks.after(float(t)) for t in range(3, 60)] == [[]] * 57
    assert told_at(ticks, range(60, 63), "ended") == {}


def test_who_had_an_owner_meanwhile_and_has_just_ended_is_no_hint(ticks):
    assert told_at(ticks, range(2), "spark") == {}  # Its executor is not back at a restarted estimator.
    assert told_at(ticks, range(2, 40), "spark", owned=True) == {}
    assert told_at(ticks, range(40, 43), "spark") == {}  # Evicted, and still in the newest frame.


def test_an_answer_that_is_late_is_no_owner(ticks):
    assert told_at(ticks, range(2), "spark") == {}
    assert ticks.tick(2.0, "spark", owned=True) == []
    assert told_at(ticks, range(3, 6), "spark") == {4: ["spark"]}


def test_where_frames_are_rare_the_second_answer_tells(ticks):
    assert told_at(ticks, range(0, 30, 5), "spark") == {10: ["spark"]}


def test_another_one_is_told_when_its_time_comes(ticks):
    assert told_at(ticks, range(6), "spark") == {4: ["spark"]}
    assert told_at(ticks, range(6, 20), "spark", "flink") == {10: ["flink"]}


def test_the_next_contention_is_told_anew(ticks):
    assert told_at(ticks, range(6), "spark") == {4: ["spark"]}
    ticks.guard.actions = [OpenValve()]
    assert ticks.after(6.0) == []
    assert told_at(ticks, range(7, 20), "spark") == {11: ["spark"]}
