from __future__ import annotations

import math
import random

import numpy as np
import pytest

from serenity.qos.detectors.baseline import LaggedBaselines
from serenity.qos.detectors.cause import Surroundings, cause_of
from serenity.qos.detectors.drop import Drop, DropParameters

HEALTHY = 1000.0


class Node:
    """Feeds one production container and one best-effort task to a detector, a second at a time."""

    def __init__(self, made, parameters=DropParameters(), indicator=None, best_effort=True):  # noqa: B008
        self.made = made
        self.drop = Drop(parameters)
        self.indicator = indicator or made.ops
        self.best_effort = best_effort
        self.t = 0.0

    def second(self, sli=math.nan, best_effort_cpu=1.0, **columns):
        rows = [self.made.production("web", self.indicator, sli=sli, **columns)]
        if self.best_effort:
            rows.append(self.made.best_effort("burn", cpu=best_effort_cpu))
        self.t += 1.0
        return self.drop.step(self.made.frame(self.t, *rows))

    def seconds(self, *slis, **more):
        """Whether a contention held, second by second."""
        return [bool(self.second(sli, **more)) for sli in slis]

    def warmed_up(self):
        assert not any(self.seconds(*[HEALTHY] * 20))
        return self


# --- when it fires ---


@pytest.mark.parametrize("drop", [0.4, 0.5, 0.6])
@pytest.mark.parametrize("of_the_first_second", [0.01, 0.25, 0.5, 0.75, 1.0])
def test_a_drop_is_found_within_three_seconds_of_its_onset(made, drop, of_the_first_second):
    node = Node(made).warmed_up()
    # The onset lies within the first sample, which sees a part of the drop only.
    onset = node.t + 1.0 - of_the_first_second
    node.second(HEALTHY * (1 - drop * of_the_first_second))
    while not node.second(HEALTHY * (1 - drop)):
        assert node.t - onset < 3.0
    assert node.t - onset <= 3.0


def test_it_stays_quiet_on_a_noisy_healthy_signal(made):
    node, noise = Node(made), random.Random(7)
    assert not any(node.seconds(*(HEALTHY * noise.uniform(0.95, 1.05) for _ in range(5000))))


def test_a_single_outlier_is_no_contention(made):
    node = Node(made).warmed_up()
    assert not any(node.seconds(HEALTHY, 100.0, HEALTHY, HEALTHY, 100.0, HEALTHY, HEALTHY))


def test_it_needs_a_past(made):
    # Ten samples that are at least 5 s old: at the fifteenth a sample can vote, at the sixteenth two can.
    assert not any(Node(made).seconds(*[HEALTHY] * 12, *[300.0] * 3))
    assert Node(made).seconds(*[HEALTHY] * 12, *[300.0] * 4)[-2:] == [False, True]


def test_without_best_effort_nobody_is_accused(made):
    node = Node(made, best_effort=False).warmed_up()
    assert not any(node.seconds(*[400.0] * 4))
    assert not any(Node(made).warmed_up().seconds(*[400.0] * 4, best_effort_cpu=0.001))


def test_best_effort_that_just_came_and_was_not_measured_yet_counts_as_running(made):
    assert any(Node(made).warmed_up().seconds(*[400.0] * 3, best_effort_cpu=math.nan))


def test_lower_is_better_for_a_latency(made):
    node = Node(made, indicator=made.latency)
    assert not any(node.seconds(*[10.0] * 20, *[5.0] * 3))
    node.seconds(*[20.0] * 2)
    (contention,) = node.second(20.0)
    assert contention.evidence.signal == "p99"
    assert (contention.evidence.deviation, contention.evidence.threshold) == (1.0, 0.25)
    assert contention.severity == pytest.approx(1 - 1.25 / 2.0)


# --- what it says ---


def test_the_evidence_is_what_was_seen(made):
    node = Node(made).warmed_up()
    node.seconds(400.0, math.nan)
    (contention,) = node.second(500.0)
    evidence = contention.evidence
    assert (evidence.signal, evidence.unit) == ("cmd_get", "ops/s")
    assert (evidence.observed, evidence.baseline, evidence.deviation) == (500.0, HEALTHY, -0.5)
    assert (evidence.threshold, evidence.samples, evidence.missing) == (-0.25, 3, 1)
    assert (evidence.window_start, evidence.window_end) == (21.0, 23.0)
    assert contention.severity == pytest.approx((0.5 - 0.25) / 0.75)
    assert contention.protected.id == "web"
    assert contention.parameters["votes"] == 2
    assert contention.detector == "drop"


def test_the_window_of_a_contention_that_holds_reaches_back_to_its_beginning(made):
    node = Node(made).warmed_up()
    node.seconds(400.0, 400.0, math.nan, math.nan)
    (contention,) = node.second(300.0)
    evidence = contention.evidence
    assert (evidence.window_start, evidence.window_end) == (20.0, 25.0)
    assert (evidence.samples, evidence.missing) == (6, 2)


# --- how long it holds ---


def test_it_holds_until_the_signal_is_back(made):
    node = Node(made).warmed_up()
    assert node.seconds(400.0, 400.0, 400.0) == [False, True, True]
    # Less bad than the threshold, and not good: it holds.
    assert all(node.seconds(*[HEALTHY * 0.8] * 10))
    assert node.seconds(HEALTHY, HEALTHY) == [True, False]


def test_the_baseline_is_frozen_and_outlives_a_long_contention(made):
    node = Node(made).warmed_up()
    node.second(400.0)
    assert all(node.seconds(*[400.0] * 300))
    assert node.seconds(HEALTHY, HEALTHY) == [True, False]
    # What was learnt before is still known: no new warm-up.
    assert node.seconds(400.0, 400.0) == [False, True]
    (contention,) = node.second(400.0)
    assert contention.evidence.baseline == HEALTHY


def test_it_ends_when_best_effort_is_gone(made):
    node = Node(made).warmed_up()
    node.seconds(*[400.0] * 3)
    node.best_effort = False
    assert not node.second(400.0)


def test_a_throttled_culprit_does_not_end_it(made):
    node = Node(made).warmed_up()
    node.seconds(*[400.0] * 3)
    assert all(node.seconds(*[400.0] * 5, best_effort_cpu=0.0))


def test_a_silent_service_does_not_hold_it_for_ever(made):
    node = Node(made).warmed_up()
    node.seconds(*[400.0] * 3)
    held = node.seconds(*[math.nan] * 80)
    assert held[:60] == [True] * 60
    assert not held[-1]


def test_missing_samples_neither_fire_nor_poison_the_baseline(made):
    node, noise = Node(made), random.Random(1)
    slis = [math.nan if noise.random() < 0.4 else HEALTHY for _ in range(200)]
    assert not any(node.seconds(*slis))
    node.seconds(400.0, 400.0)
    (contention,) = node.second(400.0)
    assert contention.evidence.baseline == HEALTHY


def test_after_an_absolution_the_present_is_the_baseline(made):
    node = Node(made).warmed_up()
    assert any(node.seconds(*[500.0] * 3))
    node.drop.relearn("web")
    assert not any(node.seconds(*[500.0] * 30))
    node.second(200.0)
    (contention,) = node.second(200.0)
    assert contention.evidence.baseline == 500.0


def test_containers_do_not_disturb_each_other(made):
    drop = Drop(DropParameters())
    held = []
    for t in range(40):
        suffering = 400.0 if t >= 30 else HEALTHY
        frame = made.frame(
            float(t),
            made.production("silent", sli=math.nan),
            made.production("undeclared", indicator=None),
            made.production("well", sli=HEALTHY),
            made.production("ill", sli=suffering),
            made.best_effort("burn", cpu=1.0),
        )
        held.append([each.protected.id for each in drop.step(frame)])
    assert held[:31] == [[]] * 31
    assert held[31:] == [["ill"]] * 9


def test_what_is_known_of_a_container_dies_with_it(made):
    node = Node(made).warmed_up()
    node.t += 1.0
    node.drop.step(made.frame(node.t, made.best_effort("burn", cpu=1.0)))
    assert not any(node.seconds(*[400.0] * 60)), "it is another one, and has always been so"


def test_a_contention_stays_with_its_container_while_others_come_and_go(made):
    drop, held = Drop(DropParameters()), []
    for t in range(60):
        others = [made.production(f"other-{i}", sli=HEALTHY) for i in range(t % 4)]
        web = made.production("web", sli=400.0 if 30 <= t < 50 else HEALTHY)
        found = drop.step(made.frame(float(t), *others, web, made.best_effort("b", cpu=1.0)))
        assert [each.protected.id for each in found] in ([], ["web"])
        held.append(bool(found))
    assert held == [False] * 31 + [True] * 20 + [False] * 9


def test_a_container_that_waits_for_cpu_is_protected_without_an_indicator(made):
    parameters = DropParameters(signal="cpu_granted", threshold=0.3, votes=3, window=5, lag_s=8.0)
    node = Node(made, parameters)
    assert not any(node.seconds(*[math.nan] * 40, cpu_granted=0.95))
    held = [bool(node.second(cpu_granted=0.4)) for _ in range(4)]
    assert held == [False, False, True, True]
    (contention,) = node.second(cpu_granted=0.4)
    assert (contention.cause, contention.evidence.signal) == ("cpu", "cpu_granted")


def test_what_the_application_says_of_itself_outranks_waiting_for_cpu(made):
    parameters = DropParameters(signal="cpu_granted", threshold=0.3, votes=3, window=5, lag_s=8.0)
    node = Node(made, parameters)
    node.seconds(*[HEALTHY] * 40, cpu_granted=0.95)
    assert not any(node.seconds(*[HEALTHY] * 6, cpu_granted=0.4))
    assert node.second(math.nan, cpu_granted=0.4), "it does not answer any more, and waits for CPU"


def test_waiting_for_cpu_is_no_contention_when_best_effort_hardly_runs(made):
    parameters = DropParameters(signal="cpu_granted", threshold=0.3, votes=3, window=5, lag_s=8.0)
    node = Node(made, parameters)
    node.seconds(*[math.nan] * 40, cpu_granted=0.95)
    assert not any(node.second(cpu_granted=0.4, best_effort_cpu=0.05) for _ in range(6))


def test_the_cause_stays_cpu_once_it_was_seen(made):
    node = Node(made)
    node.seconds(*[HEALTHY] * 20, cpu_granted=0.95)
    node.second(400.0, cpu_granted=0.5)
    assert node.second(400.0, cpu_granted=0.5)[0].cause == "cpu"
    # The culprit is throttled; the backlog keeps the signal down for a while.
    assert node.second(400.0, cpu_granted=0.95, best_effort_cpu=0.05)[0].cause == "cpu"


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"signal": "cpu"}, "signal"),
        ({"threshold": 0.0}, "threshold"),
        ({"threshold": 1.5}, "threshold"),
        ({"votes": 4}, "votes"),
        ({"votes": 0}, "votes"),
        ({"lag_s": -1.0}, "lag_s"),
    ],
)
def test_parameters_out_of_range(bad, says):
    with pytest.raises(ValueError, match=says):
        DropParameters(**bad)


# --- its parts ---


def test_the_baseline_is_the_median_of_what_is_neither_too_new_nor_too_old():
    baselines = LaggedBaselines(lag_s=2.0, span_s=4.0, min_samples=3, rows=2)
    for t, value in enumerate([100.0, 1.0, 9.0, 3.0, 5.0, 7.0, 50.0, 50.0]):
        baselines.learn(float(t), np.array([value, math.nan]))
    # At 7 the samples of 1 to 5 count: 1, 9, 3, 5, 7.
    assert baselines.value(7.0, 0) == 5.0
    baselines.freeze(7.0, 0, since=5.0)
    assert baselines.value(500.0, 0) == 3.0 + 1.0  # 1, 9, 3, 5: what came at and after 5 is forgotten.
    baselines.learn(8.0, np.array([1e9, 1.0]))
    baselines.thaw(100.0, 0)
    assert baselines.value(100.0, 0) == 4.0
    assert math.isnan(baselines.value(100.0, 1)), "one sample is no past"


def test_a_baseline_survives_a_clock_that_was_set_back():
    baselines = LaggedBaselines(lag_s=1.0, span_s=10.0, min_samples=2, rows=1)
    baselines.learn(1000.0, np.array([1.0]))
    for t in range(4):
        baselines.learn(float(t), np.array([2.0]))
    assert baselines.value(3.0, 0) == 2.0


def test_baselines_move_with_their_rows_and_hold_as_many_samples_as_the_span_has():
    """Ten a second for a minute: each row's median is that of its own last 60 s."""
    baselines = LaggedBaselines(lag_s=5.05, span_s=60.0, min_samples=10, rows=3)
    for i in range(2000):
        if i == 1500:
            baselines.move(np.array([2, -1, 0]))
        rows = [2000.0, 1000.0, 0.0] if i < 1500 else [0.0, 500.0, 2000.0]
        baselines.learn(i / 10, np.array(rows) + i)
    # At 199.9 those of 134.9 to 194.8 count; of the one that came at 150, since then.
    assert [baselines.value(199.9, row) for row in range(3)] == [1648.5, 500.0 + 1724.0, 2000.0 + 1648.5]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_no_baseline_beyond_a_limit_is_passed_over(sign):
    luck = np.random.default_rng(5)
    baselines = LaggedBaselines(lag_s=3.0, span_s=20.0, min_samples=4, rows=50)
    passed_over = 0
    for t in range(200):
        values = np.round(luck.normal(10.0, 3.0, 50))
        limits = np.round(luck.normal(10.0, 2.0, 50))
        may_be = baselines.may_be_beyond(float(t), limits, np.full(50, sign))
        known = np.array([baselines.value(float(t), row) for row in range(50)])
        assert not np.any((sign * known <= sign * limits) & ~may_be)
        passed_over += int((~may_be).sum())
        baselines.learn(float(t), np.where(luck.random(50) < 0.8, values, np.nan))
    assert passed_over > 3000, "of 10,000"


@pytest.mark.parametrize(
    ("signal", "best_effort_cpu", "granted", "psi", "cause"),
    [
        ("sli", 2.0, (0.5, 0.95), (math.nan, math.nan), "cpu"),
        ("sli", 0.05, (0.5, 0.95), (0.9, 0.1), "slo"),  # Somebody waits, and not for best-effort.
        ("sli", 2.0, (0.94, 0.95), (0.9, 0.1), "slo"),  # Its own word counts before the node's.
        ("sli", 2.0, (math.nan, math.nan), (0.9, 0.1), "cpu"),
        ("sli", 2.0, (math.nan, math.nan), (math.nan, math.nan), "slo"),
        ("cpu_granted", 2.0, (0.5, 0.95), (math.nan, math.nan), "cpu"),
        ("cpu_granted", 0.0, (0.5, 0.95), (math.nan, math.nan), "unknown"),
    ],
)
def test_the_cause(signal, best_effort_cpu, granted, psi, cause):
    assert cause_of(Surroundings(signal, best_effort_cpu, *granted, *psi)) == cause
