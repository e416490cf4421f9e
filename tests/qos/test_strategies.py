from __future__ import annotations

import math

import pytest

from serenity.qos.contention import Contention, Evidence
from serenity.qos.strategies.cpu_share import CpuShare, CpuShareParameters


@pytest.fixture
def contention(made):
    def make(cause):
        evidence = Evidence("sli", "", 1.0, 2.0, -0.5, -0.25, 0.0, 1.0, 3, 0)
        return Contention(cause, made.production("web")[0], 0.5, evidence, "drop")

    return make


def ranking(strategy, contention, frame):
    return [(each.container.id, each.score) for each in strategy.rank(contention, frame)]


def test_who_burns_most_comes_first_and_production_never(made, contention):
    strategy = CpuShare(CpuShareParameters())
    frame = made.frame(
        0.0,
        made.production("web", cpu=8.0),
        made.best_effort("some", cpu=1.0),
        made.best_effort("most", cpu=3.0),
        made.best_effort("idle", cpu=0.019),
        made.best_effort("unmeasured", cpu=math.nan),
    )
    strategy.observe(frame)
    assert ranking(strategy, contention("cpu"), frame) == [("most", 0.75), ("some", 0.25)]
    # Where the cause is not CPU, who burns none may still be it, and stands last.
    assert ranking(strategy, contention("slo"), frame)[:2] == [("most", 0.75), ("some", 0.25)]
    assert sorted(ranking(strategy, contention("slo"), frame)[2:]) == [("idle", 0.0), ("unmeasured", 0.0)]


def test_of_equals_the_youngest_is_first(made, contention):
    strategy = CpuShare(CpuShareParameters())
    old, young = made.best_effort("old", cpu=1.02), made.best_effort("young", cpu=1.01)
    strategy.observe(made.frame(0.0, old))
    frame = made.frame(5.0, old, young)
    strategy.observe(frame)
    assert [name for name, _ in ranking(strategy, contention("cpu"), frame)] == ["young", "old"]


def test_nobody_to_suspect(made, contention):
    strategy = CpuShare(CpuShareParameters())
    frame = made.frame(0.0, made.production("web", cpu=8.0))
    strategy.observe(frame)
    assert strategy.rank(contention("cpu"), frame) == []
