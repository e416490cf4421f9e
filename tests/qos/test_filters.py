from __future__ import annotations

import math

import numpy as np
import pytest

from serenity.qos.filters.cpu_granted import CpuGranted, CpuGrantedParameters
from serenity.qos.filters.ignore_new import IgnoreNew, IgnoreNewParameters
from serenity.qos.filters.moving_average import MovingAverage, MovingAverageParameters
from serenity.qos.filters.production_only import ProductionOnly

NAN = math.nan


def ids(frame):
    return [each.id for each in frame.containers]


def test_production_only(made):
    frame = made.frame(0.0, made.best_effort("b", cpu=1.0), made.production("p", cpu=2.0))
    kept = ProductionOnly().step(frame)
    assert ids(kept) == ["p"]
    assert kept.column("cpu").tolist() == [2.0]


def test_new_production_is_ignored_and_new_best_effort_is_not(made):
    stage = IgnoreNew(IgnoreNewParameters(age_s=10.0))
    seen = {}
    for t in (0.0, 5.0, 9.0, 10.0, 15.0):
        rows = [made.production("old"), made.best_effort("b")]
        rows += [made.production("young")] if t >= 5.0 else []
        seen[t] = ids(stage.step(made.frame(t, *rows)))
    assert seen == {0.0: ["b"], 5.0: ["b"], 9.0: ["b"], 10.0: ["old", "b"], 15.0: ["old", "b", "young"]}


def test_a_container_that_left_and_came_back_is_new(made):
    stage = IgnoreNew(IgnoreNewParameters(age_s=10.0))
    stage.step(made.frame(0.0, made.production("p")))
    stage.step(made.frame(1.0))
    assert ids(stage.step(made.frame(11.0, made.production("p")))) == []


def test_the_moving_average_by_hand(made):
    # One time constant of pause weighs the new sample with 1 - 1/e.
    stage = MovingAverage(MovingAverageParameters(columns=("cpu",), time_constant_s=10.0))

    def step(t, cpu):
        return stage.step(made.frame(t, made.production("p", cpu=cpu))).column("cpu")[0]

    assert step(0.0, 1.0) == 1.0
    assert step(10.0, 2.0) == pytest.approx(2.0 - math.exp(-1.0))
    assert math.isnan(step(20.0, NAN))
    # 20 s since the last measured one.
    before = 2.0 - math.exp(-1.0)
    assert step(30.0, 0.0) == pytest.approx(before * math.exp(-2.0))


def test_smoothing_does_not_mix_containers_or_touch_its_input(made):
    stage = MovingAverage(MovingAverageParameters(columns=("cpu",), time_constant_s=1.0))
    stage.step(made.frame(0.0, made.production("a", cpu=1.0), made.production("b", cpu=5.0)))
    frame = made.frame(1.0, made.production("b", cpu=5.0), made.production("a", cpu=1.0))
    assert stage.step(frame).column("cpu").tolist() == [5.0, 1.0]
    assert frame.column("cpu").tolist() == [5.0, 1.0]


def test_cpu_granted_by_hand(made):
    frame = made.frame(
        0.0,
        made.production("waits", cpu=0.5, run_delay=0.5),
        made.production("well", cpu=1.0, run_delay=0.0),
        made.production("starved", cpu=0.0, run_delay=1.0),
        made.production("idle", cpu=0.01, run_delay=0.01),
        made.production("unmeasured", cpu=1.0, run_delay=NAN),
    )
    granted = CpuGranted(CpuGrantedParameters(min_cpu=0.05)).step(frame).column("cpu_granted")
    np.testing.assert_array_equal(granted, [0.5, 1.0, 0.0, NAN, NAN])
