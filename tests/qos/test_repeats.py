"""Indicators that the application computes anew every few seconds, and that are read more often."""

from __future__ import annotations

import numpy as np
import pytest

from serenity.qos.detectors.interference.detector import Interference, InterferenceParameters
from serenity.qos.evidence.repeats import Repeats, repeated
from serenity.qos.frame import Node


def regular(*rows):
    """Whether each row's values turn out to be told at regular times."""
    repeats = Repeats()
    repeats.move(np.full(len(rows), -1))
    for values in zip(*rows, strict=True):
        repeats.observe(np.array(values))
    return repeats.regular.tolist()


def held(numbers, times):
    """Each number for so many samples."""
    return np.repeat(np.asarray(numbers, dtype=float), times)


def test_what_is_told_every_so_often_is_known_by_eight_changes():
    tens = held(np.arange(10), 10)
    assert (regular(tens[:80]), regular(tens[:81])) == ([False], [True])
    assert (regular(held(np.arange(20), 2)), regular(held(np.arange(20), 3))) == ([False], [True])


def test_an_update_may_tell_the_same_or_be_read_late_or_be_missed():
    numbers = [1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    late = held(numbers, [10, 10, 10, 11, 9, 10, 10, 10, 10, 10, 5])
    missed = np.where(np.arange(105) % 7 == 0, np.nan, late)
    assert regular(late, missed) == [True, True]


def test_what_changes_at_each_sample_or_by_chance_or_never_is_as_it_is():
    luck = np.random.default_rng(1)
    chance = held(np.arange(100) % 2, luck.geometric(0.1, 100))[:400]
    assert regular(luck.normal(size=400), chance, np.full(400, 5.0), np.full(400, np.nan)) == [False] * 4


def test_what_is_known_of_a_row_follows_it():
    repeats = Repeats()
    repeats.move(np.array([-1, -1]))
    told = [repeats.observe(np.array([each, t])).tolist() for t, each in enumerate(held(np.arange(8), 10))]
    assert not any(told) and repeats.now.tolist() == [False, False]
    repeats.move(np.array([-1, 0]))
    assert repeats.observe(np.array([1.0, 9.0])).tolist() == [1] and repeats.now.tolist() == [False, False]
    assert repeats.observe(np.array([1.0, 9.0])).tolist() == [] and repeats.now.tolist() == [False, True]
    repeats.move(np.array([1]))
    assert repeats.observe(np.array([9.0])).tolist() == [] and repeats.now.tolist() == [True]
    assert repeats.observe(np.array([9.5])).tolist() == [] and repeats.now.tolist() == [False]


def test_which_of_a_series_are_repeated():
    assert repeated(np.array([1.0, 1.0, np.nan, 1.0, 2.0, 2.0])).tolist() == [False, True, False, False, False, True]


@pytest.mark.parametrize("every", [1, 10, 30])
def test_harm_is_found_and_an_update_beside_it_is_none(made, every):
    """Each update was a change beyond all doubt: of the neighbours for harm, and of who was harmed for no harm."""
    luck, detector = np.random.default_rng(2), Interference(InterferenceParameters())
    node, held, found = Node(cpus=8.0, llc_bytes=3e7, mem_bw=2e10), set(), []
    services, told = {f"s{i}": [] for i in range(6)}, {}
    for t in range(2000):
        rows, presses = [], t >= 400 and t % 300 < 120
        for i, (name, latencies) in enumerate(services.items()):
            slow, misses = (1.5, 1.2) if presses and name == "s0" else (1.0, 1.0)
            noise = luck.lognormal(0.0, 0.1, 3)
            latencies.append(20.0 * slow * noise[0])
            if t % every == i % every:
                told[name] = np.mean(latencies)
                latencies.clear()
            columns = {"cpu": 1.0, "instructions": 3e9, "cycles": 3e9 * slow * noise[1]}
            columns |= {"llc_misses": 3e6 * misses * noise[2], "sli": told.get(name, np.nan)}
            rows.append(made.production(name, made.latency, **columns))
        task = made.best_effort("b", cpu=1.0, mem_bw=1e10 if presses else 1e7)
        suffer = {each.protected.id for each in detector.step(made.frame(float(t), *rows, task, node=node))}
        found += [(name, t - t % 300) for name in suffer - held]
        held = suffer
    assert found == [("s0", t) for t in (300, 600, 900, 1200, 1500, 1800)]
