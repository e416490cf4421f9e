from __future__ import annotations

import math

import numpy as np
import pytest

from serenity.qos.filters import FILTERS
from serenity.qos.filters.cpu_granted import CpuGranted, CpuGrantedParameters
from serenity.qos.filters.ema import Ema, EmaParameters
from serenity.qos.filters.ignore_new_executors import IgnoreNewExecutors, IgnoreNewExecutorsParameters
from serenity.qos.filters.pr_executor_pass import PrExecutorPass
from serenity.qos.frame import COLUMNS

NAN = math.nan


def ids(frame):
    return [each.id for each in frame.containers]


def test_production_only(made):
    frame = made.frame(0.0, made.best_effort("b", cpu=1.0), made.production("p", cpu=2.0))
    kept = PrExecutorPass().step(frame)
    assert ids(kept) == ["p"]
    assert kept.column("cpu").tolist() == [2.0]


def test_new_production_is_ignored_and_new_best_effort_is_not(made):
    stage = IgnoreNewExecutors(IgnoreNewExecutorsParameters(age_s=10.0))
    seen = {}
    for t in (0.0, 5.0, 9.0, 10.0, 15.0):
        rows = [made.production("old"), made.best_effort("b")]
        rows += [made.production("young")] if t >= 5.0 else []
        seen[t] = ids(stage.step(made.frame(t, *rows)))
    assert seen == {0.0: ["b"], 5.0: ["b"], 9.0: ["b"], 10.0: ["old", "b"], 15.0: ["old", "b", "young"]}


def test_later_stages_see_the_same_containers_as_long_as_the_same_are_left(made):
    stage = IgnoreNewExecutors(IgnoreNewExecutorsParameters(age_s=10.0))
    old, young = made.production("old"), made.production("young")
    stage.step(made.frame(0.0, old))
    left = [stage.step(made.frame(t, old, young)).containers for t in (11.0, 12.0, 21.0)]
    assert left[1] is left[0]
    assert [[each.id for each in containers] for containers in left] == [["old"], ["old"], ["old", "young"]]


def test_a_container_that_left_and_came_back_is_new(made):
    stage = IgnoreNewExecutors(IgnoreNewExecutorsParameters(age_s=10.0))
    stage.step(made.frame(0.0, made.production("p")))
    stage.step(made.frame(1.0))
    assert ids(stage.step(made.frame(11.0, made.production("p")))) == []


def test_an_average_of_regular_samples_by_hand(made):
    stage = Ema(EmaParameters(columns=("cpu",), sampling="regular", alpha=0.25))
    seen = [stage.step(made.frame(t, made.production("p", cpu=x))).column("cpu")[0] for t, x in REGULAR]
    # A quarter of each, whatever the pauses; what is missing weighs nothing.
    np.testing.assert_array_equal(seen, [4.0, 3.0, NAN, 4.25, 4.1875])


REGULAR = [(0.0, 4.0), (1.0, 0.0), (2.0, NAN), (9.0, 8.0), (9.5, 4.0)]


@pytest.mark.parametrize("bad", [{"sampling": "daily"}, {"alpha": 0.0}, {"alpha": 1.5}, {"time_constant_s": 0.0}])
def test_averages_that_cannot_be(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        EmaParameters(**bad)


def test_an_average_of_irregular_samples_by_hand(made):
    # One time constant of pause weighs the new sample with 1 - 1/e.
    stage = Ema(EmaParameters(columns=("cpu",), time_constant_s=10.0))

    def step(t, cpu):
        return stage.step(made.frame(t, made.production("p", cpu=cpu))).column("cpu")[0]

    assert step(0.0, 1.0) == 1.0
    assert step(10.0, 2.0) == pytest.approx(2.0 - math.exp(-1.0))
    assert math.isnan(step(20.0, NAN))
    # 20 s since the last measured one.
    before = 2.0 - math.exp(-1.0)
    assert step(30.0, 0.0) == pytest.approx(before * math.exp(-2.0))


def test_smoothing_does_not_mix_containers_or_touch_its_input(made):
    stage = Ema(EmaParameters(columns=("cpu",), time_constant_s=1.0))
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


@pytest.mark.parametrize("name", [name for name in FILTERS if name not in ("utilization_threshold", "valve")])
def test_a_row_is_what_it_is_whoever_else_comes_goes_and_is_not_measured(made, name):
    """Of all filters but those that judge the node: the same container alone, and among others."""
    alone, among = (FILTERS[name].build(FILTERS[name].parameters()) for _ in range(2))
    luck = np.random.default_rng(4)
    for t in range(40):
        columns = {each: luck.uniform(0.2, 2.0) for each in COLUMNS}
        if t % 7 == 3:
            columns["cpu"] = columns["cycles"] = NAN
        web = made.production("web", **columns)
        others = [made.production(f"p{i}", **dict.fromkeys(COLUMNS, NAN)) for i in range(t % 4)]
        others += [made.best_effort(f"b{i}", cpu=luck.uniform(0, 2)) for i in range(t % 3)]
        rows = [*others[: t % 2], web, *others[t % 2 :]]
        seen, expected = among.step(made.frame(float(t), *rows)), alone.step(made.frame(float(t), web))
        assert ("web" in seen.ids) == ("web" in expected.ids)
        for column, values in expected.columns.items():
            if len(expected):
                np.testing.assert_array_equal(seen.column(column)[seen.index("web")], values[0])
