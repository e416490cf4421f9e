"""Best-effort holds more than the slack: limits go down together and come back, memory is freed by whose turn it is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from serenity.executor.guarding.actions import Accuse, Evict, Freeze, Release, TaskView, Throttle
from serenity.executor.guarding.guard import Guard, GuardParameters
from serenity.executor.guarding.overcommitment import MemoryOverrun, SlackLimits
from serenity.qos.frame import Frame
from serenity.wire.messages.node import Overcommitment
from tests.executor.guarded import ANOTHER, OURS, REQUEST_BYTES, finding, row
from tests.manual_clock import ManualClock

FITS = Overcommitment()


def frame(t, rows, held_cpus=2.0, rss=None):
    """`rows`: cores by task; `rss`: bytes by task."""
    containers = tuple(row(task, ANOTHER if task.startswith("foreign") else OURS) for task in rows)
    columns = {"cpu": np.array(list(rows.values()), dtype=float)}
    if rss is not None:
        columns["rss_bytes"] = np.array([rss.get(task, np.nan) for task in rows])
    return Frame(t, containers, columns, readings={"held_cpus": held_cpus, "held_mem_bytes": 4e8})


def views(*tasks, cpus=1.0):
    return {task: TaskView(task, cpus) for task in tasks}


class Limited:
    """Limits on a node of two tasks, one of ours a core each."""

    def __init__(self):
        self.clock = ManualClock(1000.0)
        self.limits = SlackLimits(step_s=1.0, step_share=0.1, clock=self.clock)
        self.cores: dict[str, float] = {}  # In force.

    def tick(self, over, *actions):
        shown = frame(self.clock.now_s(), {"a": 0.9, "b": 1.5})
        bounded = self.limits.bound(actions, over, shown, views("a", "b"))
        for each in bounded:
            if isinstance(each, Throttle):
                self.cores[each.task] = each.cores
            elif isinstance(each, Release):
                self.cores.pop(each.task, None)
        self.clock.advance(1.0)
        return bounded


def test_limits_go_down_together_to_what_the_slack_holds_and_come_back_in_steps():
    node = Limited()
    over = Overcommitment(cpus=1.0)
    assert [node.tick(over) for _ in range(3)] == [[], [], []]  # It may be a passing peak.
    told = node.tick(over)
    # The slack holds half of the 2 cpus that best-effort has been allocated, on the whole node.
    assert node.cores == {"a": pytest.approx(0.5), "b": pytest.approx(0.5)}
    assert {each.use_cores for each in told} == {1.0, 1.5}
    assert all(each.finding.contention.cause == "overload" and not each.easing for each in told)
    assert node.tick(over) == []
    node.tick(Overcommitment(cpus=1.5))
    assert node.cores == {"a": pytest.approx(0.25), "b": pytest.approx(0.25)}
    raised = [tuple(node.cores.values()) for _ in range(12) if node.tick(FITS) is not None]
    given = [values[0] for values in raised if values]
    assert [after - before for before, after in itertools.pairwise(given)] == pytest.approx([0.1] * 6)
    assert node.cores == {}  # And then without a limit.


def test_a_trifle_and_a_passing_peak_change_nothing():
    node = Limited()
    for over in (0.05, 1.0, 1.0, 0.0, 1.0, 1.0, 0.09):
        assert node.tick(Overcommitment(cpus=over)) == []


def test_what_the_guard_does_stays_beneath_and_is_not_loosened():
    node = Limited()
    over = Overcommitment(cpus=1.0)
    for _ in range(4):
        node.tick(over)
    throttled = node.tick(over, Throttle("a", 0.2, 0.9, finding(("a", 1.0))))
    assert [(each.task, each.cores) for each in throttled] == [("a", 0.2)]
    eased = node.tick(over, Throttle("a", 0.8, 0.9, finding(("a", 1.0)), easing=True))
    assert [(each.task, each.cores) for each in eased] == [("a", 0.5)]
    released = node.tick(over, Release("a", "released"))
    assert [type(each) for each in released] == [Release, Throttle] and node.cores["a"] == 0.5
    frozen = node.tick(over, Freeze("b", finding(("b", 1.0))))
    assert [type(each) for each in frozen] == [Freeze]
    assert node.tick(Overcommitment(cpus=1.4)) != [] and node.cores["b"] == 0.5  # A throttle would thaw it.


def test_switched_off_no_limit_stays():
    node = Limited()
    for _ in range(4):
        node.tick(Overcommitment(cpus=1.0))
    assert {(type(each), each.task) for each in node.limits.stand_down()} == {(Release, "a"), (Release, "b")}
    assert node.limits.stand_down() == []


class Crowded:
    """A node where best-effort may hold more memory than the slack."""

    def __init__(self, tasks, parameters=None):
        self.clock = ManualClock(1000.0)
        self.guard = Guard(parameters or GuardParameters(), self.clock, OURS)
        self.memory = MemoryOverrun(self.clock)
        self.rows = dict(tasks)
        self.rss = {}

    def tick(self, over_bytes):
        ours = views(*(task for task in self.rows if not task.startswith("foreign")))
        shown = frame(self.clock.now_s(), self.rows, rss=self.rss)
        over = Overcommitment(mem_bytes=over_bytes)
        actions = self.memory.decide(over, shown, lambda found: self.guard.make_room(found, ours))
        for each in actions:
            if isinstance(each, Evict):
                del self.rows[each.task]
        self.clock.advance(1.0)
        return actions

    def run(self, seconds, over_bytes):
        return [(self.clock.now_s() - 1001.0, each) for _ in range(seconds) for each in self.tick(over_bytes)]


def test_the_largest_over_its_request_leaves_first_then_the_youngest():
    node = Crowded({"old": 0.1, "older": 0.1})
    node.rss = {"old": REQUEST_BYTES, "older": REQUEST_BYTES / 2}
    node.run(1, 0)
    node.rows |= {"young": 0.1, "large": 0.1}
    node.rss |= {"young": 1.0, "large": 2 * REQUEST_BYTES}
    story = node.run(36, 1 << 30)
    evicted = [(at, each) for at, each in story if isinstance(each, Evict)]
    assert [each.task for _, each in evicted] == ["large", "young", "old"]
    assert [at for at, _ in evicted] == [11.0, 22.0, 33.0]  # Each time it is looked whether that was enough.
    decision = evicted[0][1].decision
    contention = decision.finding.contention
    assert contention.cause == "memory" and contention.evidence.observed == 4e8
    assert contention.evidence.signal == "held_mem_bytes"
    assert [step.action for step in decision.ladder] == ["evict"]


def test_switched_on_again_it_lasts_anew_before_anybody_leaves():
    node = Crowded({"a": 0.1})
    assert node.run(5, 1 << 30) == []
    node.memory.stand_down()
    node.clock.advance(3600.0)
    assert node.run(10, 1 << 30) == []
    assert [each.task for _, each in node.run(2, 1 << 30) if isinstance(each, Evict)] == ["a"]


def test_its_outcome_is_known_when_all_fits_again():
    node = Crowded({"a": 0.1})
    node.run(12, 1 << 30)
    assert node.rows == {}
    (concluded,) = node.tick(0)
    assert (concluded.task, concluded.step.outcome) == ("a", "recovered after 2.0 s")


def test_a_peak_and_a_trifle_cost_nobody_a_task():
    node = Crowded({"a": 0.1})
    assert node.run(9, 1 << 30) + node.run(1, 0) + node.run(9, 1 << 30) + node.run(60, 60 << 20) == []


def test_another_executors_task_is_told_to_it():
    node = Crowded({"ours": 0.1, "foreign": 0.1})
    node.rss = {"ours": REQUEST_BYTES, "foreign": 2 * REQUEST_BYTES}
    said = {type(each) for _, each in node.run(30, 1 << 30)}
    assert said == {Accuse} and "ours" in node.rows


def test_within_the_budget_and_the_policy():
    node = Crowded({"a": 0.1, "b": 0.1, "c": 0.1}, GuardParameters(evictions=1))
    assert len([each for _, each in node.run(50, 1 << 30) if isinstance(each, Evict)]) == 1
    spared = Crowded({"a": 0.1}, GuardParameters(policy={"memory": "nothing"}))
    assert spared.run(50, 1 << 30) == []
