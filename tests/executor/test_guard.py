"""The guard's rules, on a clock that stands still until it is told to go on."""

from __future__ import annotations

import math

import pytest

from serenity.daemon.clock import ManualClock
from serenity.executor.actions import CloseValve, Evict, OpenValve, Relearn, Release, TaskView, Throttle
from serenity.executor.guard import Guard, GuardParameters
from serenity.qos.contention import Contention, Evidence, Finding, Suspect
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container

WEB = Container("web-c1", PRODUCTION, "web", cpus=1.0, mem_bytes=1e9, task="web.1")


def finding(*suspects, cause="cpu", severity=0.5, protected=WEB):
    evidence = Evidence("ops", "1/s", 50.0, 100.0, -0.5, -0.25, 0.0, 3.0, 3, 0)
    ranked = sorted(suspects, key=lambda each: -each[1])
    rows = tuple(Suspect(Container(task, BEST_EFFORT, "job", 0.5, 1e8), score) for task, score in ranked)
    return Finding(Contention(cause, protected, severity, evidence, "drop"), "cpu_share", rows)


class Node:
    """Tasks with the CPU they use; the guard's actions take effect on them at once."""

    def __init__(self, use, parameters=None, throttling_works=True):
        self.clock = ManualClock(1000.0)
        self.guard = Guard(parameters or GuardParameters(), self.clock)
        self.use = dict(use)
        self.free_use = dict(use)
        self.being_ended: set[str] = set()
        self.story = []  # (second, action)
        self.throttling_works = throttling_works

    def views(self):
        return {task: TaskView(task, 0.5, task in self.being_ended, "cpu quota") for task in self.use}

    def tick(self, *findings):
        actions = self.guard.decide(findings, self.use, self.views())
        for each in actions:
            self.story.append((self.clock.monotonic_s(), each))
            if isinstance(each, Throttle) and self.throttling_works:
                self.use[each.task] = min(each.cores, self.free_use[each.task])
            elif isinstance(each, Release):
                self.use[each.task] = self.free_use[each.task]
            elif isinstance(each, Evict):
                del self.use[each.task]
        self.clock.advance(1.0)
        return actions

    def scores(self):
        total = sum(self.use.values()) or 1.0
        return [(task, use / total) for task, use in self.use.items()]

    def of(self, kind):
        return [(at, each.task) for at, each in self.story if isinstance(each, kind)]


def test_nothing_is_done_in_calm():
    node = Node({"a": 1.0})
    assert [node.tick() for _ in range(60)] == [[]] * 60


def test_the_top_suspect_is_halved_at_once_and_the_valve_closed():
    node = Node({"a": 0.9, "b": 0.3})
    actions = node.tick(finding(("a", 0.75), ("b", 0.25)))
    throttles = [each for each in actions if isinstance(each, Throttle)]
    assert [(each.task, each.cores, each.use_cores) for each in throttles] == [("a", 0.45, 0.9)]
    assert any(isinstance(each, CloseValve) for each in actions)


def test_recovered_holds_then_gives_back_in_small_steps():
    node = Node({"a": 0.9}, GuardParameters(hold_s=10.0, recover_s=3.0))
    node.tick(finding(("a", 1.0)))
    for _ in range(60):
        node.tick()
    opened = [at for at, each in node.story if isinstance(each, OpenValve)]
    eased = [(at, each.cores) for at, each in node.story if isinstance(each, Throttle) and each.easing]
    assert opened == [3.0]
    assert eased[0][0] == 13.0
    steps = [after - before for (_, before), (_, after) in zip([(0, 0.45), *eased], eased, strict=False)]
    assert all(0 < step <= 0.05 + 1e-9 for step in steps)  # A tenth of 0.5 cpus.
    assert node.of(Release) == [(21.0, "a")]
    assert not node.of(Evict)


def test_throttled_in_vain_it_is_evicted_with_its_story():
    node = Node({"a": 0.9})
    for _ in range(4):
        node.tick(finding(("a", 1.0)))
    assert node.of(Evict) == [(3.0, "a")]
    decision = next(each.decision for _, each in node.story if isinstance(each, Evict))
    assert [(step.action, step.at) for step in decision.ladder] == [
        ("throttle to 0.45 cores", 1000.0),
        ("evict", 1003.0),
    ]
    assert decision.ladder[0].outcome == "cpu quota; no recovery in 3.0 s"
    assert decision.finding.contention.protected is WEB


def test_a_group_of_equal_aggressors_is_cleared_within_half_a_minute():
    node = Node({**{f"a{i}": 0.3 for i in range(6)}, "harmless": 0.01})
    second = 0
    while any(task.startswith("a") for task in node.use):
        node.tick(finding(*node.scores()))
        second += 1
        assert second <= 30, node.story
    assert [at for at, _ in node.of(Evict)] == [3.0, 6.0, 9.0, 12.0, 15.0, 18.0]
    # Doubling: one, then two more, then the other three.
    assert [at for at, _ in node.of(Throttle)] == [0.0, 3.0, 3.0, 6.0, 6.0, 6.0]
    assert all(task != "harmless" for _, task in node.of(Throttle) + node.of(Evict))


def test_nobody_is_evicted_any_more_once_it_has_helped():
    node = Node({f"a{i}": 0.3 for i in range(6)})
    for _ in range(30):
        hurts = sum(node.use.values()) > 0.8
        node.tick(*([finding(*node.scores())] if hurts else []))
    assert len(node.of(Evict)) == 2
    assert len(node.use) == 4


def test_the_harmless_and_the_hardly_suspicious_are_left_alone():
    node = Node({"busy": 0.9, "slow": 0.15, "idle": 0.04})
    for _ in range(30):
        alive = [(task, {"busy": 0.8, "slow": 0.15, "idle": 0.05}[task]) for task in node.use]
        node.tick(*([finding(*alive)] if "busy" in node.use else []))
    assert {task for _, task in node.of(Throttle) + node.of(Evict)} == {"busy"}


def test_unmeasured_use_counts_as_the_allocation():
    node = Node({"a": math.nan})
    actions = node.tick(finding(("a", 1.0)))
    assert [each.cores for each in actions if isinstance(each, Throttle)] == [0.25]


def test_nothing_helps_then_all_is_let_go_and_the_baseline_learnt_anew():
    node = Node({"a": 0.9, "b": 0.01}, GuardParameters(absolve_s=10.0))
    for _ in range(20):
        node.tick(finding(*[each for each in node.scores() if each[1] > 0.1 or each[0] == "b"]))
        if any(isinstance(each, Relearn) for _, each in node.story):
            break
    relearnt = [(at, each.container_id) for at, each in node.story if isinstance(each, Relearn)]
    assert node.of(Evict) == [(3.0, "a")]
    assert relearnt == [(13.0, "web-c1")]
    assert isinstance(node.story[-1][1], OpenValve)


def test_without_any_suspect_of_ours_nobody_is_touched_and_then_it_is_relearnt():
    node = Node({"b": 0.01})
    for _ in range(11):
        node.tick(finding(("b", 0.0)))
    assert not node.of(Throttle)
    assert any(isinstance(each, Relearn) for _, each in node.story)


def test_a_foreign_top_suspect_is_not_paid_for_by_a_local_innocent():
    node = Node({"ours": 0.2})
    for _ in range(60):
        node.tick(finding(("foreign", 0.9), ("ours", 0.1)))
    assert {type(each) for _, each in node.story} == {CloseValve}


def test_the_budget_of_evictions():
    node = Node({f"a{i}": 0.3 for i in range(6)}, GuardParameters(evictions=2, eviction_window_s=60.0))
    for _ in range(60):
        node.tick(finding(*node.scores()))
    assert [at for at, _ in node.of(Evict)] == [3.0, 6.0]
    assert not any(isinstance(each, Relearn) for _, each in node.story)  # There was still something to do.
    for _ in range(10):
        node.tick(finding(*node.scores()))
    assert [at for at, _ in node.of(Evict)] == [3.0, 6.0, 63.0, 66.0]


def test_while_one_is_on_its_way_out_no_other_is_sent_after_it():
    node = Node({"a": 0.9, "b": 0.9})
    scores = [("a", 0.5), ("b", 0.5)]
    for _ in range(3):
        node.tick(finding(*scores))
    actions = node.guard.decide([finding(*scores)], node.use, node.views())
    evicted = [each.task for each in actions if isinstance(each, Evict)]
    node.being_ended.update(evicted)
    assert len(evicted) == 1
    for _ in range(20):
        node.tick(finding(*scores))
    assert not node.of(Evict)


def test_contention_that_comes_back_with_the_release_is_throttled_again_and_held_longer():
    node = Node({"a": 0.9}, GuardParameters(hold_s=10.0))
    for _ in range(100):
        node.tick(*([finding(("a", 1.0))] if node.use.get("a", 0.0) > 0.6 else []))
        node.use["a"] = node.use.get("a", 0.9)
    again = [at for at, each in node.story if isinstance(each, Throttle) and not each.easing]
    assert len(again) >= 2
    opened = [at for at, each in node.story if isinstance(each, OpenValve)]
    first_easing = [
        min(at for at, each in node.story if isinstance(each, Throttle) and each.easing and at > start)
        for start in opened[:2]
    ]
    assert [easing - start for easing, start in zip(first_easing, opened, strict=False)] == [10.0, 20.0]
    assert not node.of(Evict)


def test_memory_is_not_compressible():
    node = Node({"a": 0.01, "b": 0.0})
    actions = node.tick(finding(("a", 0.6), ("b", 0.4), cause="memory"))
    assert [each.task for each in actions if isinstance(each, Evict)] == ["a"]
    assert not node.of(Throttle)


def test_the_worst_contention_with_a_suspect_of_ours_is_acted_on():
    other = Container("db-c1", PRODUCTION, "db", cpus=1.0, mem_bytes=1e9)
    node = Node({"a": 0.9})
    actions = node.tick(finding(("foreign", 1.0), severity=0.9, protected=other), finding(("a", 1.0), severity=0.2))
    assert [each.finding.contention.protected for each in actions if isinstance(each, Throttle)] == [WEB]


def test_a_task_that_ends_while_it_is_held_is_forgotten():
    node = Node({"a": 0.9, "b": 0.9}, GuardParameters(hold_s=5.0))
    node.tick(finding(("a", 0.5), ("b", 0.5)))
    del node.use["a"]
    assert [each for _ in range(30) for each in node.tick() if not isinstance(each, CloseValve | OpenValve)] == []


@pytest.mark.parametrize("works", [True, False])
def test_a_throttle_that_could_not_be_applied_is_a_step_like_any_other(works):
    node = Node({"a": 0.9}, throttling_works=works)
    for _ in range(4):
        node.tick(finding(("a", 1.0)))
    assert node.of(Evict) == [(3.0, "a")]


def test_switched_off_it_lets_go_of_everything_and_starts_afresh():
    node = Node({"a": 0.9, "b": 0.9})
    node.tick(finding(("a", 0.5), ("b", 0.5)))
    off = node.guard.stand_down()
    assert [(type(each), getattr(each, "task", None)) for each in off] == [(Release, "a"), (OpenValve, None)]
    assert node.guard.stand_down() == []
    node.use = dict(node.free_use)
    node.clock.advance(10.0)
    on = node.tick(finding(("a", 0.5), ("b", 0.5)))
    assert [type(each) for each in on] == [CloseValve, Throttle]


def test_nobody_is_evicted_in_the_moment_the_signal_is_good_again():
    """Seen in the demo: the record of an eviction showed a throughput above the baseline."""
    node = Node({"a": 0.9})
    for _ in range(3):
        node.tick(finding(("a", 1.0)))
    healthy = [node.tick(finding(("a", 1.0), severity=0.0)) for _ in range(20)]
    assert not any(isinstance(each, Evict) for actions in healthy for each in actions)
    assert any(isinstance(each, Evict) for each in node.tick(finding(("a", 1.0), severity=0.1)))


def test_standing_down_lets_go_of_everything_and_forgets():
    node = Node({"a": 0.9})
    node.tick(finding(("a", 1.0)))
    actions = node.guard.stand_down()
    assert [type(each) for each in actions] == [Release, OpenValve]
    assert node.guard.stand_down() == []
    assert [type(each) for each in node.tick(finding(("a", 1.0)))] == [CloseValve, Throttle]
