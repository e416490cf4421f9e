"""The guard's rules, on a clock that stands still until it is told to go on."""

from __future__ import annotations

import math

import pytest

from serenity.executor.guarding.actions import (
    Accuse,
    CloseValve,
    Concluded,
    Evict,
    Freeze,
    OpenValve,
    Relearn,
    Release,
    Throttle,
)
from serenity.executor.guarding.guard import GuardParameters
from serenity.executor.settings import ExecutorSettings
from serenity.qos.frame import PRODUCTION, Container
from tests.executor.guarded import REQUEST_BYTES, WEB, Node, finding


def in_vain(node, seconds, *suspects):
    """That many ticks of a contention that nothing helps."""
    for _ in range(seconds):
        node.tick(finding(*suspects))


def test_nothing_is_done_in_calm():
    node = Node({"a": 1.0})
    assert [node.tick() for _ in range(60)] == [[]] * 60


def test_the_top_suspect_is_halved_at_once_and_the_valve_closed():
    node = Node({"a": 0.9, "b": 0.3})
    actions = node.tick(finding(("a", 0.75), ("b", 0.25)))
    throttles = [each for each in actions if isinstance(each, Throttle)]
    assert [(each.task, each.cores, each.use_cores) for each in throttles] == [("a", 0.45, 0.9)]
    assert any(isinstance(each, CloseValve) for each in actions)


def test_in_vain_it_goes_down_rung_by_rung_and_is_then_absolved_not_evicted():
    node = Node({"a": 0.9}, GuardParameters(absolve_s=10.0))
    in_vain(node, 17, ("a", 1.0))
    throttles = [(at, each.cores) for at, each in node.story if isinstance(each, Throttle)]
    assert throttles == [(0.0, 0.45), (3.0, pytest.approx(0.9 / 8))]
    assert node.of(Freeze) == [(6.0, "a")]
    assert node.outcomes("a") == [
        ("throttle to 0.45 cores", "no recovery in 3.0 s"),
        ("throttle to 0.11 cores", "no recovery in 3.0 s"),
        ("freeze", "no recovery in 10.0 s"),
    ]
    assert [type(each) for at, each in node.story if at == 16.0][1:] == [Release, Relearn, OpenValve]
    assert node.use == {"a": 0.9} and not node.of(Evict)


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
    assert node.outcomes("a") == [("throttle to 0.45 cores", "recovered after 1.0 s"), ("give back", "released")]


def test_what_helps_only_frozen_is_thawed_after_a_while_to_its_deepest_throttle():
    node = Node({"a": 0.8}, GuardParameters(hold_s=10.0))
    for _ in range(30):
        node.tick(*([finding(("a", 1.0))] if node.use["a"] > 0.11 or node.clock.monotonic_s() < 6.5 else []))
    assert node.of(Freeze) == [(6.0, "a")]
    eased = [(at, each.cores) for at, each in node.story if isinstance(each, Throttle) and each.easing]
    assert eased[0] == (19.0, pytest.approx(0.1))
    assert eased[1] == (22.0, pytest.approx(0.15))  # What the thaw does is looked at first.


def test_what_hurts_as_soon_as_it_is_thawed_is_evicted_with_its_story():
    node = Node({"a": 0.8}, GuardParameters(hold_s=10.0))
    for _ in range(40):
        node.tick(*([finding(("a", 1.0))] if node.use.get("a") else []))
    assert node.of(Freeze) == [(6.0, "a")]
    assert node.of(Evict) == [(20.0, "a")]
    decision = next(each.decision for _, each in node.story if isinstance(each, Evict))
    assert [(step.action, step.at, step.outcome.removeprefix("cpu quota; ")) for step in decision.ladder] == [
        ("throttle to 0.40 cores", 1000.0, "no recovery in 3.0 s"),
        ("throttle to 0.10 cores", 1003.0, "no recovery in 3.0 s"),
        ("freeze", 1006.0, "recovered after 1.0 s"),
        ("thaw to 0.10 cores", 1019.0, "contention came back"),
        ("evict", 1020.0, ""),
    ]
    assert decision.finding.contention.protected is WEB
    assert node.outcomes("a")[-1] == ("evict", "recovered after 1.0 s")


def test_a_task_that_cannot_be_stopped_is_evicted():
    node = Node({"a": 0.9}, throttling_works=False, freezing_works=False)
    in_vain(node, 10, ("a", 1.0))
    assert node.of(Freeze) == [(6.0, "a")]
    assert node.of(Evict) == [(9.0, "a")]


def test_an_eviction_that_did_not_help_says_so():
    node = Node({"a": 0.9, "b": 0.9}, throttling_works=False, freezing_works=False)
    for _ in range(16):
        node.tick(finding(*((task, 1.0) for task in node.use)))
    evicted = [at for at, _ in node.of(Evict)]
    assert len(evicted) == 2
    first = node.of(Evict)[0][1]
    assert node.outcomes(first)[-1] == ("evict", f"no recovery in {evicted[1] - evicted[0]:.1f} s")


def test_a_group_of_equal_aggressors_stands_still_within_four_rounds_and_nobody_is_evicted():
    node = Node({**{f"a{i}": 0.3 for i in range(6)}, "harmless": 0.01})
    scores = [*((f"a{i}", 0.16) for i in range(6)), ("harmless", 0.04)]
    in_vain(node, 13, *scores)
    # Doubling: one, then two more, then the other three.
    first = [at for at, each in node.story if isinstance(each, Throttle) and each.cores == 0.15]
    assert first == [0.0, 3.0, 3.0, 6.0, 6.0, 6.0]
    assert [at for at, _ in node.of(Freeze)] == [6.0, 9.0, 9.0, 12.0, 12.0, 12.0]
    assert not node.of(Evict)
    assert all(task != "harmless" for _, task in node.of(Throttle) + node.of(Freeze))


def test_nobody_goes_further_down_once_it_has_helped():
    node = Node({f"a{i}": 0.3 for i in range(6)})
    for _ in range(30):
        hurts = sum(node.use.values()) > 0.8
        node.tick(*([finding(*node.scores())] if hurts else []))
    assert not node.of(Evict) and not node.of(Freeze)
    assert sum(node.use.values()) > 0.4


def test_the_harmless_and_the_hardly_suspicious_are_left_alone():
    node = Node({"busy": 0.9, "slow": 0.15, "idle": 0.04})
    for _ in range(30):
        node.tick(*([finding(("busy", 0.8), ("slow", 0.15), ("idle", 0.05))] if node.use["busy"] else []))
    assert {task for _, task in node.of(Throttle) + node.of(Freeze)} == {"busy"}


def test_unmeasured_use_counts_as_the_allocation():
    node = Node({"a": math.nan})
    actions = node.tick(finding(("a", 1.0)))
    assert [each.cores for each in actions if isinstance(each, Throttle)] == [0.25]


def test_without_any_suspect_of_ours_nobody_is_touched_and_then_it_is_relearnt():
    node = Node({"b": 0.01})
    for _ in range(11):
        node.tick(finding(("b", 0.0)))
    assert not node.of(Throttle)
    assert any(isinstance(each, Relearn) for _, each in node.story)


def test_a_foreign_top_suspect_is_told_to_its_executor_and_no_local_innocent_pays_for_it():
    node = Node({"ours": 0.2})
    for _ in range(60):
        node.tick(finding(("foreign", 0.9), ("ours", 0.8)))
    assert {type(each) for _, each in node.story} == {CloseValve, Accuse}
    accused = [each for _, each in node.story if isinstance(each, Accuse)]
    assert len(accused) == 60 and {each.suspect.id for each in accused} == {"foreign"}


def test_a_task_of_ours_that_has_just_ended_is_nobody_to_be_accused():
    node = Node({"ours": 0.2})
    actions = node.tick(finding(("ended", 0.9), ("ours", 0.1)))
    assert [type(each) for each in actions] == [CloseValve]


def test_the_budget_of_evictions():
    parameters = GuardParameters(evictions=2, eviction_window_s=60.0)
    node = Node({f"a{i}": 0.3 for i in range(6)}, parameters)
    for _ in range(70):
        node.tick(finding(*((task, 0.2) for task in node.use), cause="memory"))
    assert [at for at, _ in node.of(Evict)] == [0.0, 3.0, 60.0, 63.0]
    assert not any(isinstance(each, Relearn) for _, each in node.story)  # There was still something to do.


def test_while_one_is_on_its_way_out_no_other_is_sent_after_it():
    node = Node({"a": 0.9, "b": 0.9})
    scores = [("a", 0.5), ("b", 0.5)]
    actions = node.guard.decide([finding(*scores, cause="memory")], node.use, node.views())
    evicted = [each.task for each in actions if isinstance(each, Evict)]
    node.being_ended.update(evicted)
    assert len(evicted) == 1
    for _ in range(20):
        node.tick(finding(*scores, cause="memory"))
    assert not node.of(Evict)


def relapsing(parameters, seconds=100):
    """A task whose throttle helps, and whose release hurts again."""
    node = Node({"a": 0.9}, parameters)
    for _ in range(seconds):
        node.tick(*([finding(("a", 1.0))] if node.use.get("a", 0.0) > 0.6 else []))
    return node


def test_contention_that_comes_back_with_the_release_is_throttled_again_and_held_longer():
    node = relapsing(GuardParameters(hold_s=10.0, relapses=9))
    again = node.of(Throttle)
    assert len(again) >= 2
    opened = [at for at, each in node.story if isinstance(each, OpenValve)]
    first_easing = [
        min(at for at, each in node.story if isinstance(each, Throttle) and each.easing and at > start)
        for start in opened[:2]
    ]
    assert [easing - start for easing, start in zip(first_easing, opened, strict=False)] == [10.0, 20.0]
    assert not node.of(Evict)


def test_who_hurts_at_every_release_is_evicted():
    node = relapsing(GuardParameters(hold_s=10.0, relapses=2))
    assert len(node.of(Throttle)) == 2  # At first, and after the first relapse.
    assert [task for _, task in node.of(Evict)] == ["a"]
    assert ("give back", "contention came back") in node.outcomes("a")


def released(relapses):
    """Two tasks of which one was throttled, and given all back just now."""
    node = Node({"a": 0.5, "b": 0.5}, GuardParameters(hold_s=10.0, relapses=relapses))
    node.tick(finding(("a", 1.0)))
    for _ in range(40):
        if not node.of(Release):
            node.tick()
    assert [task for _, task in node.of(Release)] == ["a"]
    return node


@pytest.mark.parametrize(("relapses", "expected"), [(1, Evict), (2, Throttle)])
def test_who_hurts_right_after_its_release_is_known_again(relapses, expected):
    node = released(relapses)
    done = [each for each in node.tick(finding(("a", 1.0), ("b", 0.9))) if isinstance(each, Evict | Throttle)]
    assert [(type(each), each.task) for each in done] == [(expected, "a")]
    assert node.outcomes("a")[-1] == ("give back", "contention came back")


def test_all_that_was_released_just_now_is_taken_back_whoever_is_suspected_most():
    node = Node({"a": 0.5, "b": 0.5}, GuardParameters(hold_s=10.0, relapses=9))
    for _ in range(8):
        node.tick(finding(("a", 1.0), ("b", 0.9)))
    held = {task for _, task in node.of(Throttle)}
    for _ in range(60):
        if len(node.of(Release)) < 2:
            node.tick()
    assert held == {"a", "b"} == {task for _, task in node.of(Release)}
    again = node.tick(finding(("a", 1.0), ("b", 0.0)))
    assert {each.task for each in again if isinstance(each, Throttle | Freeze)} == {"a", "b"}


def test_somebody_new_is_taken_down_beside_those_that_are_taken_back():
    node = released(relapses=9)
    done = [each for each in node.tick(finding(("b", 1.0), ("a", 0.9))) if isinstance(each, Throttle)]
    assert [each.task for each in done] == ["a", "b"]


def test_who_is_being_ended_is_not_taken_back():
    node = released(relapses=9)
    node.being_ended.add("a")
    assert not [each for each in node.tick(finding(("b", 1.0))) if isinstance(each, Throttle) and each.task == "a"]


def test_a_release_of_long_ago_is_forgotten():
    node = released(relapses=1)
    for _ in range(10):
        node.tick()
    node.tick(finding(("a", 1.0)))
    assert not node.of(Evict)


def test_memory_is_not_compressible_and_who_has_the_most_beyond_its_request_goes_first():
    node = Node({"a": 0.01, "b": 0.0, "c": 0.0})
    node.rss_bytes = {"a": REQUEST_BYTES, "b": 1.5 * REQUEST_BYTES, "c": 3 * REQUEST_BYTES}
    node.tick(finding(("a", 0.6), ("b", 0.4), ("c", 0.0), cause="memory"))
    assert node.of(Evict) == [(0.0, "c")]
    for _ in range(6):
        node.tick(finding(*((task, 0.5) for task in node.use), cause="memory"))
    assert node.of(Evict) == [(0.0, "c"), (3.0, "b"), (6.0, "a")]
    assert not node.of(Throttle)


def test_the_worst_contention_with_a_suspect_of_ours_is_acted_on():
    other = Container("db-c1", PRODUCTION, "db", cpus=1.0, mem_bytes=1e9)
    node = Node({"a": 0.9})
    actions = node.tick(finding(("foreign", 1.0), severity=0.9, protected=other), finding(("a", 1.0), severity=0.2))
    assert [each.finding.contention.protected for each in actions if isinstance(each, Throttle)] == [WEB]
    assert [each.finding.contention.protected for each in actions if isinstance(each, Accuse)] == [other]


def test_a_task_that_ends_while_it_is_held_is_forgotten():
    node = Node({"a": 0.9, "b": 0.9}, GuardParameters(hold_s=5.0))
    node.tick(finding(("a", 0.5), ("b", 0.5)))
    del node.use["a"]
    assert [each for _ in range(30) for each in node.tick() if not isinstance(each, CloseValve | OpenValve)] == []


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


def test_nobody_goes_further_down_in_the_moment_the_signal_is_good_again():
    """Seen in the demo: the record of an eviction showed a throughput above the baseline."""
    node = Node({"a": 0.9})
    in_vain(node, 3, ("a", 1.0))
    healthy = [node.tick(finding(("a", 1.0), severity=0.0)) for _ in range(20)]
    assert {type(each) for actions in healthy for each in actions} == {CloseValve}
    worse = node.tick(finding(("a", 1.0), severity=0.1))
    assert [type(each) for each in worse] == [CloseValve, Concluded, Throttle]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("nothing", {CloseValve}),
        ("throttle", {CloseValve, Throttle, Concluded}),
        ("freeze", {CloseValve, Throttle, Freeze, Concluded}),
    ],
)
def test_the_policy_for_a_cause_bounds_how_far_a_task_is_taken_down(word, expected):
    node = Node({"a": 0.9}, GuardParameters(policy={"slo": word}), freezing_works=False)
    for _ in range(40):
        node.tick(finding(("a", 1.0), cause="slo"))
    assert {type(each) for _, each in node.story} == expected
    node.tick(finding(("a", 1.0), cause="cpu"))
    assert any(isinstance(each, Throttle | Freeze | Evict) for at, each in node.story if at == 40.0)


def test_memory_that_may_not_be_evicted_for_is_left_alone():
    node = Node({"a": 0.9}, GuardParameters(policy={"memory": "freeze"}))
    for _ in range(40):
        node.tick(finding(("a", 1.0), cause="memory"))
    assert {type(each) for _, each in node.story} == {CloseValve}


def test_a_tick_that_comes_a_little_early_does_not_put_a_round_off():
    """Seen in the demo: rounds of three seconds came every four."""
    node = Node({"a": 0.9})
    node.tick(finding(("a", 1.0)))
    node.clock.advance(1.9)
    assert any(isinstance(each, Throttle) for each in node.tick(finding(("a", 1.0))))


@pytest.mark.parametrize(
    ("policy", "complaint"),
    [
        ({"gpu": "evict"}, "policy: there is no cause 'gpu'; there are cpu, llc,"),
        ({"cpu": "kill"}, "policy: cpu = 'kill'; write one of nothing, throttle, freeze, evict"),
    ],
)
def test_a_policy_that_means_nothing_is_refused_in_words(policy, complaint):
    with pytest.raises(ValueError, match=complaint):
        ExecutorSettings(policy=policy)


def test_what_is_taken_back_for_another_cause_goes_no_further_down_than_that_allows():
    node = Node({"a": 0.8}, GuardParameters(hold_s=5.0, policy={"slo": "throttle"}))
    in_vain(node, 7, ("a", 1.0))
    while not any(isinstance(each, Throttle) and each.easing for each in node.tick()):
        assert node.clock.monotonic_s() < 30.0
    node.tick(finding(("a", 1.0), cause="slo"))
    last = node.story[-1][1]
    assert isinstance(last, Throttle) and last.cores == pytest.approx(0.1)


def test_when_the_first_suspect_is_frozen_in_vain_it_is_the_next_ones_turn_however_little_it_scored():
    node = Node({"a": 0.9, "b": 0.3}, GuardParameters(absolve_s=10.0))
    in_vain(node, 30, ("a", 0.9), ("b", 0.1))
    assert node.of(Freeze) == [(6.0, "a"), (15.0, "b")]
    assert [at for at, task in node.of(Throttle) if task == "b"] == [9.0, 12.0]
    assert [(at, type(each)) for at, each in node.story if isinstance(each, Relearn)] == [(25.0, Relearn)]
    assert not node.of(Evict)


def test_a_disk_is_hurt_without_any_cpu():
    node = Node({"a": 0.01})
    node.tick(finding(("a", 1.0), cause="io"))
    assert node.of(Throttle) == [(0.0, "a")]


def test_a_frozen_task_can_still_be_evicted_for_its_memory():
    node = Node({"a": 0.9})
    in_vain(node, 12, ("a", 1.0))
    node.tick(finding(("a", 1.0), cause="memory"))
    assert node.of(Freeze) == [(6.0, "a")] and node.of(Evict) == [(12.0, "a")]
