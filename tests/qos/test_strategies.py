from __future__ import annotations

import dataclasses
import math

import pytest

from serenity.qos.contention import Contention, Evidence
from serenity.qos.strategies import STRATEGIES
from serenity.qos.strategies.combined import Combined, CombinedParameters
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


def history_after(made, contention, absolved):
    """What the ranking holds against a task's job once a contention has ended as it was held down."""
    strategy = Combined(CombinedParameters())

    def frame(t, cpu):
        shown = made.frame(float(t), made.production("web", cpu=1.0), made.best_effort("task", cpu=cpu))
        strategy.observe(shown)
        return shown

    for t in range(30):
        frame(t, 0.1)
    for t in range(30, 40):
        strategy.rank(contention("cpu"), frame(t, 2.0))
    if absolved:
        strategy.absolve("web")
    for t in range(40, 45):
        frame(t, 0.1)
    (suspect,) = strategy.rank(contention("cpu"), frame(45, 2.0))
    return suspect.parts["history"]


def test_who_was_held_down_rightly_is_remembered_and_who_was_absolved_is_not(made, contention):
    assert history_after(made, contention, absolved=False) == pytest.approx(0.2 / (1 + 1))  # One of one.
    assert history_after(made, contention, absolved=True) == 0.0


def test_whose_doing_it_is_shows_as_rows_are_held_down(made, contention):
    """Both began together, and the one pressed a little more; while it was held down, as much was suffered."""
    strategy, said = Combined(CombinedParameters()), contention("cpu")

    def rank(t, one, other, severity):
        tasks = made.best_effort("one", cpu=one), made.best_effort("other", cpu=other)
        frame = made.frame(float(t), made.production("web", cpu=1.0), *tasks)
        strategy.observe(frame)
        if severity:
            evidence = dataclasses.replace(said.evidence, window_start=30.0)
            return strategy.rank(dataclasses.replace(said, evidence=evidence, severity=severity), frame)
        return []

    for t in range(30):
        rank(t, 0.1, 0.1, 0.0)
    first = rank(31, 2.05, 2.0, 0.4)
    assert [each.container.id for each in first] == ["one", "other"]
    for t in range(32, 60):
        # In turn the one is held down, in vain, and the other, of use.
        held = (1.0, 2.0, 0.4) if t % 10 < 5 else (2.05, 1.0, 0.2)
        rank(t, *held)
    last = [rank(t, 2.05, 2.0, 0.4) for t in range(60, 72)][-1]
    assert last[0].container.id == "other"
    parts = {each.container.id: each.parts["correlation"] for each in last}
    assert parts["other"] > 1.5 * parts["one"]
    assert all(sum(each.parts.values()) == pytest.approx(each.score) for each in last)


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("cause", ["cpu", "llc", "io", "unknown"])
def test_every_ranking_is_of_those_who_are_there_with_the_guilty_first(made, contention, name, cause):
    """Tasks come and go, some are not measured; the one that came last presses on everything."""
    strategy = STRATEGIES[name].build(STRATEGIES[name].parameters())
    pressed = {"cpu": 3.0, "llc_bytes": 1e8, "mem_bw": 1e9, "io_bytes": 1e9, "rss_bytes": 1e9}
    for t in range(80):
        bad = t >= 75
        others = [made.best_effort(f"b{i}", cpu=0.1, llc_bytes=1e6) for i in range(t % 3 if t < 60 else 2)]
        others += [made.best_effort("unmeasured", **dict.fromkeys(pressed, math.nan))] if t % 5 or t > 60 else []
        guilty = [made.best_effort("guilty", **pressed)] if bad else []
        counted = {"cpu": 1.0, "cycles": 3e10 if bad else 3e9, "instructions": 3e9}
        rows = [*others, made.production("web", **counted), *guilty]
        frame = made.frame(float(t), *rows)
        strategy.observe(frame)
        found = strategy.rank(contention(cause), frame)
        assert {each.container.id for each in found} <= {row.id for row, _ in rows} - {"web"}
        scores = [each.score for each in found]
        assert scores == sorted(scores, reverse=True) and all(map(math.isfinite, scores))
    assert found[0].container.id == "guilty"
