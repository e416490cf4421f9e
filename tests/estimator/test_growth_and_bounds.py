"""Slow up, and what an operator keeps back."""

from __future__ import annotations

import math

import pytest

from serenity.daemon.settings import SettingsError, resolve
from serenity.estimator.account.bounds import Bounds, Room
from serenity.estimator.account.growth import Growth
from serenity.estimator.account.report import Amount
from serenity.estimator.settings import EstimatorSettings
from serenity.estimator.slack.formula import Slack

GIB = 1 << 30


def slack(cpus: float, mem_gib: float = 1.0) -> Slack:
    return Slack(cpus, mem_gib * GIB)


def cpus_let_through(growth: Growth, *amounts: tuple[float, float]) -> list[float]:
    """After each (time, cpus)."""
    return [growth.let_through(slack(cpus), t).cpus for t, cpus in amounts]


def test_a_rise_is_let_through_in_parts_and_a_fall_at_once() -> None:
    growth = Growth(grow_s=4.0)
    seen = cpus_let_through(growth, (0.0, 2.0), (1.0, 8.0), (2.0, 8.0), (3.0, 8.0), (4.0, 8.0), (5.0, 1.0))
    assert seen == [2.0, 4.0, 6.0, 8.0, 8.0, 1.0]


def test_a_long_rest_is_no_licence_to_jump() -> None:
    growth = Growth(grow_s=10.0)
    rested = [(float(t), 1.0) for t in range(100)]
    assert cpus_let_through(growth, *rested, (100.0, 10.0))[-1] == 2.0


def test_it_grows_from_what_was_told_instead() -> None:
    growth = Growth(grow_s=4.0)
    growth.let_through(slack(8.0), 0.0)
    growth.held_back(Amount(1.0, GIB // 2), 1.0)
    after = growth.let_through(slack(8.0, 1.0), 2.0)
    assert (after.cpus, after.mem_bytes) == (3.0, 0.75 * GIB)


def test_it_can_be_turned_off() -> None:
    assert cpus_let_through(Growth(grow_s=0.0), (0.0, 1.0), (0.0, 9.0)) == [1.0, 9.0]


def test_the_words_of_a_bound() -> None:
    assert Room.parse("cpus=1.5, mem=2G", 0.0) == Room(1.5, 2 * GIB)
    assert Room.parse("mem=512", math.inf) == Room(math.inf, GIB / 2)
    assert Room.parse("", 0.0) == Room(0.0, 0.0)


@pytest.mark.parametrize(
    ("slack_cpus", "given", "why"),
    [
        (6.0, 3.0, ["cpus is bounded by this agent's reserve", "cpus is bounded by this agent's ceiling"]),
        (3.0, 2.0, ["cpus is bounded by this agent's reserve"]),
        (0.5, 0.0, ["cpus is bounded by this agent's reserve"]),
        (0.0, 0.0, []),
    ],
)
def test_of_the_slack_the_reserve_stays_and_the_ceiling_is_the_most(
    slack_cpus: float, given: float, why: list[str]
) -> None:
    bounds = Bounds(reserve=Room.parse("cpus=1", 0.0), ceiling=Room.parse("cpus=3", math.inf))
    found = bounds.apply(slack(slack_cpus))
    assert (found.cpus, found.mem_bytes, list(found.why)) == (given, GIB, why)


def test_without_bounds_nothing_changes() -> None:
    assert EstimatorSettings().bounds.apply(slack(2.0)) == slack(2.0)


@pytest.mark.parametrize(
    ("variable", "text", "says"),
    [
        ("RESERVE", "gpus=1", "'gpus=1' is neither cpus nor mem"),
        ("RESERVE", "cpus=-1", "cpus='-1' is no number of cpus"),
        ("CEILING", "cpus=nan", "no number of cpus"),
        ("CEILING", "mem=lots", "'lots' is no amount of memory"),
    ],
)
def test_a_slip_is_named(variable: str, text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=variable.lower()) as told:
        resolve(EstimatorSettings, "estimator", {}, {f"SERENITY_ESTIMATOR_{variable}": text})
    assert says in str(told.value)
