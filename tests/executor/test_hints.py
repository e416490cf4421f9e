"""When an executor gives a hint: a suspect that nobody on the node owns, said again each minute while it lasts."""

from __future__ import annotations

import numpy as np
import pytest

from serenity.daemon.clock import ManualClock
from serenity.executor.guarding.accusations import Accusations
from serenity.executor.guarding.actions import Accuse, Action, Hint, OpenValve
from serenity.executor.guarding.decisions import Decisions
from serenity.executor.guarding.overcommitment import MemoryOverrun, SlackLimits
from serenity.qos.frame import Frame
from serenity.wire.messages.node import Overcommitment, Unowned
from tests.executor.guarded import finding

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

    def tick(self, t, *suspects):
        found = [finding((each, 1.0), severity=0.7) for each in suspects]
        self.guard.actions = [Accuse(each.suspects[0].container, each) for each in found]
        return self.after(t, *suspects)

    def after(self, t, *unowned):
        actions = self._decisions.decide(Frame(t, (), {"cpu": np.zeros(0)}), NOTHING_OVER, {})
        for each in unowned:
            self._accusations.unowned(Unowned(task_id=each))
        return [(each.suspect.id, each.finding.contention.severity) for each in actions if isinstance(each, Hint)]


@pytest.fixture
def ticks():
    return Ticks()


def test_a_suspect_that_nobody_owns_is_told_and_again_each_minute(ticks):
    assert ticks.tick(0.0, "spark") == []
    assert ticks.tick(1.0, "spark") == [("spark", 0.7)]
    told_at = [t for t in range(2, 200) if ticks.tick(float(t), "spark")]
    assert told_at == [61, 121, 181]


def test_another_one_is_told_at_once(ticks):
    ticks.tick(0.0, "spark")
    ticks.tick(1.0, "spark", "flink")
    assert ticks.tick(2.0, "spark", "flink") == [("flink", 0.7)]


def test_the_next_contention_is_told_anew(ticks):
    ticks.tick(0.0, "spark")
    ticks.tick(1.0, "spark")
    ticks.guard.actions = [OpenValve()]
    assert ticks.after(2.0) == []
    ticks.tick(3.0, "spark")
    assert ticks.tick(4.0, "spark") == [("spark", 0.7)]
