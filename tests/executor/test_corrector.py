"""Which actuator is taken, what is in force together, and what becomes of another writer."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from serenity.daemon.clock import SystemClock
from serenity.executor.corrections.actuators import ActuatorError, Allowance, Resource, Target
from serenity.executor.corrections.actuators.stop_and_go import StopAndGo
from serenity.executor.corrections.corrector import FREEZE, Corrector
from serenity.executor.tasks.trees import Trees
from tests.manual_clock import ManualClock

T1 = Target("t1")
HALF, TENTH = Allowance(0.5, 1.0), Allowance(0.1, 1.0)


@dataclass(eq=False)
class Recorded:
    """An actuator that does what it is told, and writes down what it was told."""

    name: str
    of: Resource
    stops_processes: bool = False
    lacks: str | None = None
    fails: str | None = None
    foreign: str | None = None
    cores: dict[str, float] = field(default_factory=dict)  # By task.
    applied: int = 0

    def available(self, target):
        return self.lacks

    def apply(self, target, allowance):
        if self.fails is not None:
            raise ActuatorError(self.fails)
        self.applied += 1
        self.cores[target.task_id] = allowance.cores
        return f"{allowance.cores:g}"

    def undo(self, target):
        self.cores.pop(target.task_id, None)

    def look(self, target):
        return self.foreign if target.task_id in self.cores else None


class Bench:
    def __init__(self):
        self.clock = ManualClock()
        self.cache = Recorded("cache", "llc")
        self.quota = Recorded("quota", "cpu")
        self.duty = Recorded("duty", "cpu", stops_processes=True)
        self.freezer = Recorded("freezer", "all", stops_processes=True)
        self.signals = Recorded("signals", "all", stops_processes=True)
        cpu = (self.quota, self.duty)
        self.corrector = Corrector(
            {"cpu": cpu, "llc": (self.cache, *cpu), FREEZE: (self.freezer, self.signals)},
            StopAndGo(Trees(), SystemClock()),
            self.clock,
        )

    def in_force(self):
        found = (self.cache, self.quota, self.duty, self.freezer, self.signals)
        return {each.name: each.cores["t1"] for each in found if "t1" in each.cores}

    def after(self, seconds):
        self.clock.advance(seconds)
        return self.corrector.due()


@pytest.fixture
def bench():
    return Bench()


@pytest.mark.parametrize(("cause", "taken"), [("cpu", "quota"), ("llc", "cache"), ("slo", "quota")])
def test_the_best_actuator_of_the_cause_is_taken(bench, cause, taken):
    assert bench.corrector.throttle(T1, HALF, cause) == f"{taken}, 0.5"
    assert bench.in_force() == {taken: 0.5}
    bench.corrector.release("t1")
    assert bench.in_force() == {}


def test_what_does_not_work_is_passed_over(bench):
    bench.cache.lacks = "not mounted"
    bench.quota.fails = "Invalid argument"
    assert bench.corrector.throttle(T1, HALF, "llc") == "duty, 0.5"
    assert bench.in_force() == {"duty": 0.5}


def test_why_a_better_one_is_passed_over_is_said_once(bench, caplog):
    caplog.set_level("INFO")
    bench.cache.lacks = "not mounted"
    for _ in range(3):
        bench.corrector.throttle(T1, HALF, "llc")
    assert [each.message for each in caplog.records] == ["cache cannot be used on t1: not mounted"]


def test_why_nothing_is_in_force(bench):
    bench.quota.lacks, bench.duty.fails = "no cgroup", "does not stop"
    assert bench.corrector.throttle(T1, HALF) == "not applied: quota: no cgroup; duty: does not stop"
    assert bench.corrector.next_s is None


def test_a_better_one_replaces_its_stand_in(bench):
    bench.quota.fails = "Device or resource busy"
    bench.corrector.throttle(T1, HALF)
    bench.quota.fails = None
    bench.corrector.throttle(T1, TENTH)
    assert bench.in_force() == {"quota": 0.1}


def test_of_two_causes_both_limits_are_in_force_and_are_eased_together(bench):
    bench.corrector.throttle(T1, HALF, "cpu")
    assert bench.corrector.throttle(T1, TENTH, "llc") == "quota, 0.5; cache, 0.1"
    bench.corrector.throttle(T1, Allowance(0.7, 1.0), "llc", easing=True)
    assert bench.in_force() == {"quota": 0.7, "cache": 0.7}


def test_what_cannot_be_eased_stays_as_it_is_and_says_so(bench):
    bench.corrector.throttle(T1, TENTH)
    bench.quota.fails = "No space left on device"
    said = bench.corrector.throttle(T1, HALF, easing=True)
    assert said == "quota, 0.1; not applied: quota: No space left on device"
    assert bench.in_force() == {"quota": 0.1}


class TestFreeze:
    def test_the_throttle_stays_beneath(self, bench):
        bench.corrector.throttle(T1, HALF)
        assert bench.corrector.freeze(T1) == "quota, 0.5; freezer, 0.5"
        bench.corrector.release("t1")
        assert bench.in_force() == {}

    def test_a_throttle_thaws(self, bench):
        bench.corrector.throttle(T1, TENTH)
        bench.corrector.freeze(T1)
        assert bench.corrector.throttle(T1, HALF, easing=True) == "quota, 0.5"
        assert bench.in_force() == {"quota": 0.5}

    def test_thawed_by_a_first_throttle_it_is_throttled(self, bench):
        bench.corrector.freeze(T1)
        bench.corrector.throttle(T1, HALF, easing=True)
        assert bench.in_force() == {"quota": 0.5}

    def test_signals_where_there_is_no_freezer(self, bench):
        bench.freezer.fails = "not all of it is frozen"
        assert bench.corrector.freeze(T1).startswith("signals, ")

    def test_why_it_is_not_frozen(self, bench):
        bench.freezer.lacks, bench.signals.fails = "no cgroup", "does not stop"
        assert bench.corrector.freeze(T1) == "not applied: freezer: no cgroup; signals: does not stop"

    def test_who_is_frozen_is_not_frozen_again(self, bench):
        bench.corrector.freeze(T1)
        bench.corrector.freeze(T1)
        assert bench.freezer.applied == 1


class TestLettingATaskEnd:
    def test_it_must_run_and_stays_limited(self, bench):
        bench.corrector.throttle(T1, HALF)
        bench.corrector.freeze(T1)
        bench.corrector.let_end("t1")
        assert bench.in_force() == {"quota": 0.5}

    def test_who_was_only_frozen_gets_little(self, bench):
        bench.corrector.freeze(T1)
        bench.corrector.let_end("t1")
        assert bench.in_force() == {"quota": 0.1}

    def test_who_was_held_by_its_cache_and_frozen_gets_little(self, bench):
        bench.corrector.throttle(T1, HALF, "llc")
        bench.corrector.freeze(T1)
        bench.corrector.let_end("t1")
        assert bench.in_force() == {"cache": 0.5, "quota": 0.1}

    def test_without_a_quota_it_runs_freely(self, bench):
        bench.quota.lacks = "no cgroup"
        bench.corrector.throttle(T1, HALF)
        bench.corrector.let_end("t1")
        assert bench.in_force() == {}

    def test_who_is_not_held_is_left_alone(self, bench):
        bench.corrector.let_end("t1")
        assert bench.in_force() == {}


class TestAnotherWriter:
    def test_he_is_left_for_a_while_overwritten_once_and_then_given_way(self, bench, caplog):
        bench.corrector.throttle(T1, HALF)
        bench.quota.foreign = "cpu.max is max 100000"
        assert bench.after(3) == {}
        assert bench.after(6) == {}
        assert bench.quota.applied == 1
        assert bench.after(6) == {}
        assert bench.quota.applied == 2  # Ten seconds after it was seen.
        assert bench.after(3) == {
            "t1": "quota given up: another writer has changed it again (cpu.max is max 100000); duty, 0.5"
        }
        assert bench.in_force() == {"duty": 0.5}
        assert len([each for each in caplog.records if "given up" in each.message]) == 1

    def test_who_writes_once_is_overwritten_and_forgotten(self, bench):
        bench.corrector.throttle(T1, HALF)
        bench.quota.foreign = "cpu.max is max 100000"
        bench.after(3)
        bench.after(12)
        bench.quota.foreign = None
        for _ in range(5):
            assert bench.after(3) == {}
        assert bench.quota.applied == 2

    def test_after_giving_up_it_is_not_tried_for_a_minute_and_then_longer(self, bench):
        bench.corrector.throttle(T1, HALF)
        for pause_s in (60, 120):
            bench.quota.foreign = "cpu.max is max 100000"
            for seconds in (3, 12, 3):
                bench.after(seconds)
            bench.quota.foreign = None
            bench.clock.advance(pause_s - 1)
            assert bench.corrector.throttle(T1, HALF) == "duty, 0.5"
            bench.clock.advance(2)
            assert bench.corrector.throttle(T1, HALF) == "quota, 0.5"

    def test_whoever_thaws_what_we_froze_is_no_exception(self, bench):
        bench.corrector.freeze(T1)
        bench.freezer.foreign = "freezer.state is THAWED"
        for seconds in (3, 12):
            bench.after(seconds)
        assert bench.after(3)["t1"].endswith("; signals, 0.1")
        assert set(bench.in_force()) == {"signals"}

    def test_with_nothing_else_the_outcome_says_so(self, bench):
        bench.duty.lacks = "none here"
        bench.corrector.throttle(T1, HALF)
        bench.quota.foreign = "max"
        for seconds in (3, 12):
            bench.after(seconds)
        outcome = bench.after(3)["t1"]
        assert outcome.endswith("not applied: quota: another writer keeps changing it; duty: none here")
        assert bench.corrector.next_s is None
