"""How soon it is believed, and how long it is remembered."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest

from bench.qos import frames
from bench.qos_delay import bound, delays
from serenity.qos.detectors.interference.detector import Interference, InterferenceParameters
from serenity.qos.pipeline import Pipeline
from tests.qos.interference.played import NODE, Service


def test_who_is_half_way_to_an_alarm_stays_under_close_analysis(made):
    """The screening lets it go again, for nothing happens any more; what tells it from noise is how long it lasts."""
    luck, detector = np.random.default_rng(0), Interference(InterferenceParameters())
    found, wander = [], 0.0
    for t in range(320):
        wander = 0.5 * wander + luck.normal(0.0, 0.1 * np.sqrt(0.75))
        slow, misses = (1.2, 1.1) if t >= 260 else (1.0, 1.0)
        web = {"cpu": 1.0, "cycles": 3e9 * np.exp(wander) * slow, "instructions": 3e9}
        web["llc_misses"] = 3e6 * misses * luck.lognormal(0.0, 0.1)
        press = 1.0 + 800.0 * min(1.0, max(0.0, (t - 259) / 10))
        task = made.best_effort("b", cpu=0.5, mem_bw=1e7 * press * luck.lognormal(0.0, 0.1))
        frame = made.frame(float(t), made.production("web", None, **web), task, node=NODE)
        found += [(t, each.cause) for each in detector.step(frame)]
    assert found and found[0][0] > 280 and found[0][1] == "memory_bandwidth"


def test_a_job_that_did_harm_is_believed_sooner_as_it_presses_again(made):
    service = Service(made)

    def delay_s():
        assert not service.seconds(150, waits=0.02, burning=0.05)
        return next(second for second in range(30) if service.seconds(1, waits=0.07, burning=3.0))

    first = delay_s()
    assert service.seconds(30, waits=0.07, burning=3.0)  # It holds.
    service.seconds(60, waits=0.02, burning=0.05)
    assert delay_s() < first, first


@pytest.mark.parametrize("neighbour_waits, found", [(1.0, {"web", "api"}), (0.0, set())])
def test_who_waits_a_little_is_believed_where_a_neighbour_waits_since_the_same_moment(made, neighbour_waits, found):
    luck, detector, seen = np.random.default_rng(8), Interference(InterferenceParameters()), set()
    for t in range(260):
        longer = {"web": neighbour_waits, "api": 0.03} if t >= 240 else {"web": 0.0, "api": 0.0}
        services = [
            made.production(name, None, cpu=1.0, run_delay=0.02 * luck.lognormal(0.0, 0.4) + more)
            for name, more in longer.items()
        ]
        task = made.best_effort("b", cpu=(4.0 if t >= 240 else 0.1) * luck.lognormal(0.0, 0.1))
        seen |= {each.protected.id for each in detector.step(made.frame(float(t), *services, task, node=NODE))}
    assert seen == found


def test_a_service_that_suffers_some_seconds_after_another_is_believed_sooner_than_alone(made):
    """What fills a cache, or a queue, harms one service after the other."""

    def delay_s(seed, neighbour_waits):
        luck, detector = np.random.default_rng(seed), Interference(InterferenceParameters())
        for t in range(280):
            longer = {"web": neighbour_waits if t >= 240 else 0.0, "api": 0.05 if t >= 250 else 0.0}
            services = [
                made.production(name, None, cpu=1.0, run_delay=0.02 * luck.lognormal(0.0, 0.4) + more)
                for name, more in longer.items()
            ]
            task = made.best_effort("b", cpu=(4.0 if t >= 240 else 0.1) * luck.lognormal(0.0, 0.1))
            found = detector.step(made.frame(float(t), *services, task, node=NODE))
            if "api" in {each.protected.id for each in found}:
                return t - 250
        return None

    alone = [delay_s(seed, 0.0) for seed in range(8)]
    in_company = [delay_s(seed, 1.0) for seed in range(8)]
    assert all(0 <= sooner < later for sooner, later in zip(in_company, alone, strict=True))
    assert sum(in_company) < 0.6 * sum(alone), (in_company, alone)


def test_nothing_grows_with_the_containers_that_have_been():
    """Every other frame one is replaced, 1,200 in all: none may leave even a hundred bytes, as an entry somewhere."""
    pipeline, traced = Pipeline.load(), []
    tracemalloc.start()
    try:
        for number, frame in enumerate(frames(9, renew_every=2)):
            pipeline.step(frame)
            if number in (600, 3000):
                gc.collect()
                traced.append(tracemalloc.get_traced_memory()[0])
            if number == 3000:
                break
    finally:
        tracemalloc.stop()
    assert traced[1] - traced[0] < 1200 * 100


def test_the_delay_lies_within_four_times_the_bound():
    told = delays(0.2, onsets=20, false_alarm_days=10.0)
    assert np.mean(told) <= 4.0 * bound(0.2, 10.0)
