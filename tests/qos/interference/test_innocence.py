"""What is no interference, and what beside it is."""

from __future__ import annotations

import pytest

from bench.qos import frames
from serenity.qos.detectors.interference.detector import Interference, InterferenceParameters
from tests.qos.interference.played import Machine, Service


def test_a_phase_of_the_program_is_no_alarm_and_becomes_the_baseline(made):
    service = Service(made)
    assert not service.seconds(150) and not service.seconds(60, cpi=1.3) and not service.seconds(60, cpi=0.8)


def test_a_load_step_is_no_alarm(made):
    service = Service(made)
    assert not service.seconds(150, cpu=1.0, waits=0.01)
    assert not service.seconds(60, cpu=2.0, waits=0.06)


def test_who_burns_more_cpu_for_fewer_answers_has_no_more_load(made):
    service = Service(made)
    assert not service.seconds(150, counted=False, waits=0.1, throughput=1000.0, burning=0.05)
    found = service.seconds(4, counted=False, cpu=1.5, waits=0.6, throughput=600.0, burning=3.0)
    assert found and found[-1].cause == "cpu"


def test_who_works_more_and_answers_more_waits_for_itself(made):
    service = Service(made)
    assert not service.seconds(150, counted=False, waits=0.1, throughput=1000.0)
    assert not service.seconds(30, counted=False, cpu=1.5, waits=0.6, throughput=1500.0)


def test_a_throughput_that_falls_with_the_load_is_no_alarm(made):
    service = Service(made)
    assert not service.seconds(150, cpu=2.0, throughput=1000.0, burning=0.05)
    assert not service.seconds(60, cpu=0.8, throughput=400.0, burning=3.0)


@pytest.mark.parametrize("throughput", [300.0, 0.0])
def test_one_that_falls_or_ends_while_as_much_cpu_is_used_is(made, throughput):
    service = Service(made)
    assert not service.seconds(150, throughput=1000.0, burning=0.05)
    found = service.seconds(5, throughput=throughput, burning=3.0)
    assert found and (found[-1].cause, found[-1].evidence.signal) == ("slo", "cmd_get")


def test_waiting_that_begins_with_a_task_is(made):
    service = Service(made)
    assert not service.seconds(150, burning=0.05)
    found = service.seconds(4, waits=0.4, burning=3.0)
    assert found and (found[-1].cause, found[-1].evidence.signal) == ("cpu", "run_delay")
    assert found[-1].evidence.window_start == pytest.approx(151.0, abs=1.0)
    assert not service.seconds(20, burning=0.05)[8:], "it ends once the waiting does"


def test_an_indicator_that_is_slow_while_counters_stand_still_is_others_doing(made):
    """A service downstream is slow: no phase of the program, and no interference either."""
    for seed in range(4):
        node = Machine(made, seed)
        assert not node.seconds(300, task={"cpu": 1.0})
        assert not node.seconds(60, task={"cpu": 1.0}, sli=15.0)


def test_a_little_more_load_does_not_explain_waiting_near_nothing(made):
    node = Machine(made)
    quiet = {"run_delay": 0.002}
    assert not node.seconds(300, **quiet)
    assert not node.seconds(5, cpu=2.6, cycles=7.8e9, instructions=7.8e9, run_delay=0.003)
    found = node.seconds(4, task={"cpu": 2.0}, cpu=2.6, cycles=7.8e9, instructions=7.8e9, run_delay=1.3)
    assert found and found[-1].cause == "cpu"


def test_one_sample_that_the_one_beside_it_does_not_bear_out_is_none(made):
    service = Service(made)
    assert not service.seconds(300, burning=0.05)
    assert not service.seconds(1, waits=0.1, burning=3.0) and not service.seconds(20, burning=0.05)


def test_containers_that_come_and_go_leave_nothing_and_disturb_nobody():
    detector = Interference(InterferenceParameters())
    for number, frame in enumerate(frames(9, renew_every=3)):
        assert detector.step(frame) == []
        if number == 300:
            break
