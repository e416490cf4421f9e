"""The small stages, with values worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from serenity.qos.contention import Contention, Evidence
from serenity.qos.detectors.cpi_outlier import CpiOutlier, CpiOutlierParameters
from serenity.qos.detectors.threshold import (
    Overload,
    OverloadParameters,
    PressureDetector,
    PressureParameters,
    Slo,
    SloParameters,
)
from serenity.qos.filters.cumulative import Cumulative, CumulativeParameters
from serenity.qos.filters.derived import Derived
from serenity.qos.filters.too_low_usage import TooLowUsage, TooLowUsageParameters
from serenity.qos.filters.utilization_threshold import UtilizationThreshold, UtilizationThresholdParameters
from serenity.qos.filters.valve import Valve, ValveParameters
from serenity.qos.frame import Indicator, Node
from serenity.qos.strategies.by_use import (
    Bandwidth,
    CacheOccupancy,
    Correlation,
    CorrelationParameters,
    Seniority,
    ShareParameters,
)
from serenity.wire.messages.statistics import Cpi

NAN = math.nan

# --- filters ---


def test_derived_columns(made):
    frame = made.frame(
        0.0,
        made.production("a", cycles=3e9, instructions=2e9, llc_misses=4e6),
        made.production("idle", cycles=0.0, instructions=0.0, llc_misses=0.0),
        made.production("unmeasured", cycles=NAN, instructions=2e9, llc_misses=1e6),
    )
    seen = Derived().step(frame)
    np.testing.assert_array_equal(seen.column("cpi"), [1.5, NAN, NAN])
    np.testing.assert_array_equal(seen.column("ipc"), [2 / 3, NAN, NAN])
    np.testing.assert_array_equal(seen.column("mpki"), [2.0, NAN, 0.5])


def test_counters_of_few_events_are_left_out_and_nothing_else(made):
    frame = made.frame(0.0, made.production("few", cpu=0.2, cycles=1.0), made.production("many", cpu=0.3, cycles=2.0))
    seen = TooLowUsage(TooLowUsageParameters(min_cpu=0.25)).step(frame)
    np.testing.assert_array_equal(seen.column("cycles"), [NAN, 2.0])
    assert seen.column("cpu").tolist() == [0.2, 0.3]


def test_rates_over_gaps_and_resets(made):
    stage = Cumulative(CumulativeParameters(columns=("cycles",)))
    readings = [(0.0, 100.0), (2.0, 300.0), (3.0, NAN), (5.0, 900.0), (6.0, 50.0), (7.0, 60.0)]
    rates = [stage.step(made.frame(t, made.production("a", cycles=v))).column("cycles")[0] for t, v in readings]
    # 200 in 2 s; missing; 600 in the 3 s since the last one; a reset; 10 in 1 s.
    np.testing.assert_array_equal(rates, [NAN, 100.0, NAN, 200.0, NAN, 10.0])


def test_rates_follow_containers_that_move(made):
    stage = Cumulative(CumulativeParameters(columns=("cycles",)))
    stage.step(made.frame(0.0, made.production("a", cycles=10.0), made.production("b", cycles=1000.0)))
    frame = made.frame(1.0, made.production("b", cycles=1001.0), made.production("new", cycles=5.0))
    np.testing.assert_array_equal(stage.step(frame).column("cycles"), [1.0, NAN])


@pytest.mark.parametrize(("used", "cpus", "passes"), [(7.0, 8.0, True), (7.1, 8.0, False), (9.0, NAN, True)])
def test_a_full_node_stops_everything(made, used, cpus, passes):
    """The one that is not measured counts at its 0.5: 7.5 of 8 are 94 %, 7.6 are 95 %."""
    frame = made.frame(0.0, made.production("p", cpu=used), made.best_effort("b", cpu=NAN), node=Node(cpus=cpus))
    stage = UtilizationThreshold(UtilizationThresholdParameters(threshold=0.95))
    assert stage.step(frame).ids == (["p", "b"] if passes else [])


def test_the_valve_stops_everything(made):
    stage = Valve(ValveParameters(reading="valve_closed"))
    rows = made.production("p", cpu=1.0), made.best_effort("b", cpu=1.0)
    assert stage.step(made.frame(0.0, *rows)).ids == ["p", "b"]
    assert stage.step(made.frame(1.0, *rows, valve_closed=0.0)).ids == ["p", "b"]
    assert stage.step(made.frame(2.0, *rows, valve_closed=1.0)).ids == []


# --- detectors ---


def test_pressure_by_votes(made):
    detector = PressureDetector(PressureParameters(column="psi_memory", threshold=0.1, votes=2, window=3))

    def second(t, psi, *others):
        return detector.step(made.frame(t, made.production("p", psi_memory=psi), *others))

    b = made.best_effort("b")
    assert [bool(second(float(t), psi, b)) for t, psi in enumerate([0.2, 0.1, NAN, 0.3, 0.2])] == [False] * 4 + [True]
    (contention,) = second(5.0, 0.05, b)
    assert (contention.cause, contention.evidence.observed, contention.evidence.missing) == ("memory", 0.05, 0)
    assert second(6.0, 0.4) == [], "nobody best-effort is there"


def test_pressure_that_best_effort_has_no_part_in_holds_nobody_down_again_and_again(made):
    detector = PressureDetector(PressureParameters(votes=2, window=3))

    def second(t, psi):
        row = made.production("p", psi_memory=psi)
        return bool(detector.step(made.frame(float(t), row, made.best_effort("b"))))

    assert [second(t, 0.5) for t in range(3)] == [False, True, True]
    detector.relearn("p")
    assert not any(second(t, 0.5) for t in range(3, 60))
    assert not any(second(t, psi) for t, psi in enumerate([0.0, 0.0, NAN, 0.5, 0.5, 0.0, 0.0, 0.0], 60))
    assert [second(t, 0.5) for t in range(68, 71)] == [False, True, True], "a whole window was within the limit"


@pytest.mark.parametrize(("better", "bad", "good"), [("lower", 56.0, 55.0), ("higher", 44.0, 45.0)])
def test_a_missed_objective(made, better, bad, good):
    detector = Slo(SloParameters(margin=0.1, votes=2, window=3))
    told = Indicator("p99", "ms", better, objective=50.0)

    def second(t, value):
        row = made.production("p", indicator=told, sli=value)
        return bool(detector.step(made.frame(t, row, made.production("other", sli=1e9), made.best_effort("b"))))

    values = [good, bad, good, bad, good, good]
    assert [second(float(t), v) for t, v in enumerate(values)] == [False, False, False, True, False, False]


@pytest.mark.parametrize(("better", "met", "missed"), [("lower", -12.0, -4.0), ("higher", -14.0, -16.0)])
def test_a_margin_around_a_negative_objective(made, better, met, missed):
    detector = Slo(SloParameters(margin=0.5, votes=2, window=2))
    told = Indicator("headroom", "dB", better, objective=-10.0)

    def second(t, value):
        row = made.production("p", indicator=told, sli=value)
        return bool(detector.step(made.frame(t, row, made.best_effort("b"))))

    assert [second(float(t), v) for t, v in enumerate([met, met, missed, missed])] == [False, False, False, True]


def test_who_does_not_answer_has_not_met_its_objective(made):
    detector = Slo(SloParameters(votes=2, window=3))
    told = Indicator("p99", "ms", "lower", objective=50.0)

    def second(t, value):
        row = made.production("p", indicator=told, sli=value)
        return bool(detector.step(made.frame(float(t), row, made.best_effort("b"))))

    assert [second(t, 90.0) for t in range(2)] == [False, True]
    detector.relearn("p")
    assert not any(second(t, value) for t, value in enumerate([NAN, NAN, NAN, NAN, 90.0, 90.0, 90.0], 2))


def test_overload_protects_one_for_as_long_as_it_holds(made):
    detector = Overload(OverloadParameters(threshold=0.9, votes=1, window=2))

    def second(t, a, b, *others):
        rows = made.production("a", cpu=a, cpus=2.0), made.production("b", cpu=b, cpus=2.0), *others
        found = detector.step(made.frame(float(t), *rows, made.best_effort("burn", cpu=7.0), node=Node(cpus=8.0)))
        return [each.protected.id for each in found]

    assert [second(0, 1.1, 1.0), second(1, 1.0, 1.1)] == [["a"], ["a"]], "of two that are nearly as full"
    detector.relearn("a")
    assert second(2, 1.0, 1.1) == second(3, 1.1, 1.0) == [], "nor is it the other's turn then"


def test_overload_protects_the_fullest(made):
    detector = Overload(OverloadParameters(threshold=0.9, votes=2, window=2))

    def second(t, burning):
        rows = made.production("half", cpu=2.0, cpus=4.0), made.production("full", cpu=1.0, cpus=1.0)
        return detector.step(made.frame(t, *rows, made.best_effort("b", cpu=burning), node=Node(cpus=8.0)))

    assert [len(second(float(t), cpu)) for t, cpu in enumerate([4.2, 4.1, 4.2, 4.3])] == [0, 0, 0, 1]
    (contention,) = second(4.0, 5.0)
    assert (contention.cause, contention.protected.id) == ("overload", "full")
    assert contention.evidence.observed == 8.0 and contention.evidence.baseline == pytest.approx(7.2)


def test_cpi_outliers_of_a_job(made):
    detector = CpiOutlier(CpiOutlierParameters(min_samples=4, outliers=2))
    fired = []

    def minute(number, cpi, cpu=1.0):
        for second in (1.0, 5.0, 11.0):
            row = made.production("p", cycles=cpi * 1e9, instructions=1e9, cpu=cpu)
            if detector.step(made.frame(60.0 * number + second, row, made.best_effort("b", cpu=1.0))):
                fired.append((number, second))

    # Mean 1, sigma 0.1 over four: the limit is 1.2.
    for number, cpi in enumerate([0.9, 1.1, 0.9, 1.1]):
        minute(number, cpi)
    minute(4, 1.19)
    minute(5, 5.0, cpu=0.1)
    assert fired == []
    minute(6, 2.0)  # With 1.19 mean 1.038, sigma 0.117: the limit is 1.273.
    minute(7, 1.25)
    assert fired == []
    minute(8, 1.35)  # It is 1.340 with 1.25, and would be 1.9 with the outlier.
    assert fired == [(8, 5.0), (8, 11.0)]  # The next frame is after the ten seconds.
    for number in range(9, 14):
        minute(number, 1.1)
    fired.clear()
    minute(14, 1.6)  # Both are older than the window, and learnt: from 1.32 the limit has risen to 1.69.
    minute(15, 1.6)
    assert fired == []


@pytest.mark.parametrize("interval_s", [1.0, 5.0, 7.0, 20.0, 30.0, 60.0])
@pytest.mark.parametrize("phase", [0.0, 0.25, 0.5, 0.9])
def test_cpi_is_sampled_once_a_minute_however_rare_and_whenever_frames_come(made, interval_s, phase):
    detector = CpiOutlier(CpiOutlierParameters())
    fired = []
    for t in np.arange(phase * 60.0, 3600.0, interval_s):
        cycles = [1e9 + 1e7 * i for i in range(10)]
        if t >= 2400.0:
            cycles[0] = 3e9
        rows = [
            made.production(f"p{i}", job="p", cycles=each, instructions=1e9, cpu=1.0) for i, each in enumerate(cycles)
        ]
        frame = made.frame(t, *rows, made.best_effort("b", cpu=1.0))
        fired += [(t, each.protected.id) for each in detector.step(frame)]
    assert {name for _, name in fired} == {"p0"} and fired[0][0] <= 2400.0 + 4 * 60.0


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"outliers": 10, "window_s": 60.0}, "write window_s = 600 or more"),
        ({"outliers": 0}, "outliers = 0; it must be at least 1"),
    ],
)
def test_outliers_that_could_never_be_so_many_are_refused(changed, says):
    with pytest.raises(ValueError, match=says):
        CpiOutlierParameters(**changed)


@pytest.mark.parametrize(("samples", "fires"), [(3.0, False), (40.0, True)])
def test_cpi_is_compared_with_what_the_cluster_knows_if_it_knows_more(made, samples, fires):
    """The first container of its job here; on other agents the limit is 1 + 2 x 0.1."""
    detector = CpiOutlier(CpiOutlierParameters(outliers=2))
    detector.know({"p": Cpi(samples=samples, mean=1.0, variance=0.01)})
    found = []
    for minute in range(4):
        for second in (1.0, 5.0, 11.0):
            row = made.production("p", cycles=1.5e9, instructions=1e9, cpu=1.0)
            found += detector.step(made.frame(60.0 * minute + second, row, made.best_effort("b", cpu=1.0)))
    assert bool(found) is fires
    if fires:
        evidence = found[0].evidence
        assert (evidence.observed, evidence.baseline) == (1.5, pytest.approx(1.0, abs=0.02))


# --- strategies ---


@pytest.fixture
def contention(made):
    evidence = Evidence("cpi", "", 2.0, 1.0, 1.0, 0.05, 0.0, 1.0, 3, 0)
    return Contention("llc", made.production("p")[0], 0.5, evidence, "interference")


def ranking(strategy, contention, frame):
    strategy.observe(frame)
    return [(each.container.id, pytest.approx(each.score)) for each in strategy.rank(contention, frame)]


def test_seniority_suspects_the_youngest(made, contention):
    strategy = Seniority()
    strategy.observe(made.frame(0.0, made.best_effort("old")))
    frame = made.frame(9.0, made.production("p"), made.best_effort("old"), made.best_effort("new"))
    assert ranking(strategy, contention, frame) == [("new", 1.0), ("old", 0.1)]


def test_shares_of_cache_and_bandwidth(made, contention):
    frame = made.frame(
        0.0,
        made.production("p", llc_bytes=1e9, mem_bw=1e12),
        made.best_effort("a", llc_bytes=3e6, mem_bw=1e9),
        made.best_effort("b", llc_bytes=1e6, mem_bw=3e9),
        made.best_effort("unmeasured"),
    )
    assert ranking(CacheOccupancy(ShareParameters(min_share=0.3)), contention, frame) == [("a", 0.75)]
    assert ranking(Bandwidth(ShareParameters()), contention, frame) == [("b", 0.75), ("a", 0.25), ("unmeasured", 0.0)]


@pytest.mark.parametrize("signal", ["cpi", "run_delay"])
def test_correlation_of_use_with_cpi(made, contention, signal):
    strategy = Correlation(CorrelationParameters(window_s=100.0, min_score=-1.0))
    cpis = [1.0] * 8 + [2.0, 4.0]
    for t, cpi in enumerate(cpis):
        slow = cpi > 1.0
        frame = made.frame(
            float(t),
            made.production("p", cycles=cpi, instructions=1.0, cpu=1.0),
            made.best_effort("guilty", cpu=float(cpi == 4.0)),
            made.best_effort("innocent", cpu=float(not slow)),
        )
        strategy.observe(frame)
    # CPI's limit, 1 + 5 %; or mean 1.4, sigma 0.917: theta = 3.233.
    theta = 1.05 if signal == "cpi" else 1.4 + 2 * math.sqrt((8 * 0.16 + 0.36 + 6.76) / 10)
    seen = replace(contention, evidence=replace(contention.evidence, signal=signal))
    # 1 - theta / 4 for who ran then only, 1 / theta - 1 for who ran before.
    assert [(each.container.id, pytest.approx(each.score)) for each in strategy.rank(seen, frame)] == [
        ("guilty", 1 - theta / 4),
        ("innocent", 1 / theta - 1),
    ]


def test_correlation_names_who_keeps_up_what_cpi_outlier_finds(made):
    """Of a contention as long as that, the victim's own mean and deviation over the window say nothing any more."""
    detector, strategy = CpiOutlier(CpiOutlierParameters()), Correlation(CorrelationParameters())
    luck, named = np.random.default_rng(1), []
    for t in range(3600 + 300):
        slow = t >= 3600
        cycles = (2e9 if slow else 1e9) * luck.lognormal(0.0, 0.02)
        frame = made.frame(
            float(t),
            made.production("web", cpu=1.0, cycles=cycles, instructions=1e9),
            made.best_effort("bad", cpu=3.0 if slow else 0.05),
            made.best_effort("steady", cpu=1.0),
        )
        strategy.observe(frame)
        for each in detector.step(frame):
            named.append([suspect.container.id for suspect in strategy.rank(each, frame)])
    assert named and all(each == ["bad"] for each in named)


@pytest.mark.parametrize(
    ("parameters", "given"),
    [
        (PressureParameters, {"column": "cpu"}),
        (PressureParameters, {"votes": 6}),
        (SloParameters, {"margin": -1.0}),
        (OverloadParameters, {"threshold": 1.5}),
        (CpiOutlierParameters, {"min_samples": 1}),
        (CorrelationParameters, {"window_s": 0.0}),
        (ShareParameters, {"min_share": 1.0}),
        (UtilizationThresholdParameters, {"threshold": 0.0}),
        (ValveParameters, {"reading": ""}),
        (TooLowUsageParameters, {"min_cpu": -1.0}),
    ],
)
def test_parameters_out_of_range(parameters, given):
    with pytest.raises(ValueError, match=next(iter(given))):
        parameters(**given)
