"""What is taken away, and who takes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from serenity.qos.detectors.interference.detector import Interference, InterferenceParameters
from serenity.qos.frame import Node
from serenity.qos.pipeline import Pipeline
from serenity.qos.trace import read_trace
from tests.qos.interference.played import NODE, Machine, causes

RECORDED = Path(__file__).parents[1] / "recorded"


def test_one_takes_the_cache_while_another_takes_the_cpu(made):
    """Neither mechanism explains all that is seen, and yet it is no phase of the program."""
    suffers = {"cycles": 2.0, "llc_misses": 4.0, "llc_bytes": 0.5, "run_delay": 45.0}
    found = causes(made, 215, lambda t: (suffers, {"llc_bytes": 200.0}, {"cpu": 80.0}) if t >= 200 else ({}, {}, {}))
    assert found and 200 <= found[0][0] <= 210 and {cause for _, cause in found} <= {"llc", "cpu"}


@pytest.mark.parametrize("more_misses", [1.0, 1.5])
def test_who_takes_the_bandwidth_is_named_however_many_the_misses(made, more_misses):
    """Where bandwidth is short each miss takes longer; that there are more of them is a matter of the prefetcher."""
    luck, pipeline, found = np.random.default_rng(1), Pipeline.load(), []
    node = Node(cpus=16.0, llc_bytes=3e7, mem_bw=5e10, mem_bytes=64e9)
    for t in range(330):
        on = t >= 300
        web = {"cpu": 2.0, "cycles": 9e9 if on else 6e9, "instructions": 4e9, "run_delay": 0.01, "llc_bytes": 5e6}
        web["llc_misses"] = 8e6 * (more_misses if on else 1.0)
        stream = {"cpu": 2.0, "mem_bw": 3e10 if on else 1e7, "llc_bytes": 2e6 if on else 1e5}
        other = {"cpu": 2.0, "mem_bw": 1e9, "llc_bytes": 1e6}
        web, stream, other = (
            {name: x * luck.lognormal(0.0, 0.05) for name, x in each.items()} for each in (web, stream, other)
        )
        rows = made.production("web", None, **web), made.best_effort("stream", **stream)
        frame = made.frame(float(t), *rows, made.best_effort("other", **other), node=node)
        found += [(t, each.contention.cause, each.suspects[0].container.id) for each in pipeline.step(frame)]
    assert found and found[0][0] <= 305 and {each[1:] for each in found} == {("memory_bandwidth", "stream")}


@pytest.mark.parametrize(("slowdown", "kept"), [(1.2, 0.4), (1.5, 0.7)])  # `kept`: of what it had in the cache.
@pytest.mark.parametrize("indicator", ["none", "ops", "latency"])
def test_who_takes_the_cache_is_named_however_much_is_lost_and_whether_users_notice(made, slowdown, kept, indicator):
    """What is asked for is answered as long as there is time; how much it hurts to lose cache is each program's own."""
    luck, pipeline, found = np.random.default_rng(1), Pipeline.load(), []
    node = Node(cpus=16.0, llc_bytes=3e7, mem_bw=5e10, mem_bytes=64e9)
    told = None if indicator == "none" else getattr(made, indicator)
    for t in range(630):
        on = t >= 600
        web = {"cpu": 2.0, "cycles": 6e9 * (slowdown if on else 1.0), "instructions": 4e9, "run_delay": 0.02}
        web |= {
            "llc_misses": 8e6 * (1.5 * slowdown - 0.5 if on else 1.0),
            "llc_bytes": 5e6 * (kept if on else 1.0),
            "sli": 1000.0,
        }
        hog, other = {"cpu": 2.0, "llc_bytes": 2e7 if on else 1e5}, {"cpu": 2.0, "llc_bytes": 1e6}
        web, hog, other = (
            {name: x * luck.lognormal(0.0, 0.03) for name, x in each.items()} for each in (web, hog, other)
        )
        rows = made.production("web", told, **web), made.best_effort("hog", **hog)
        frame = made.frame(float(t), *rows, made.best_effort("other", **other), node=node)
        found += [(t, each.contention.cause, each.suspects[0].container.id) for each in pipeline.step(frame)]
    assert found and found[0][0] <= 605 and {each[1:] for each in found} == {("llc", "hog")}


def test_who_has_left_may_not_have_been_the_one(made):
    """The waiting goes on without him, for some seconds: they are still the contention's, and no new baseline."""
    luck, detector, found = np.random.default_rng(2), Interference(InterferenceParameters()), []
    for t in range(240):
        bad = 150 <= t < 192 or t >= 210
        web = made.production("web", None, cpu=1.0, run_delay=(1.0 if bad else 0.05) * luck.lognormal(0.0, 0.2))
        tasks = [made.best_effort("other", cpu=2.0 if t >= 210 else 0.1)]
        if t < 185:
            tasks.append(made.best_effort("leaves", cpu=3.0 if t >= 150 else 0.1))
        found += [t for _ in detector.step(made.frame(float(t), web, *tasks, node=NODE))]
    assert set(range(153, 192)) <= set(found)
    assert not set(range(200, 210)) & set(found)
    assert set(range(213, 240)) <= set(found)


@pytest.mark.parametrize("trace", sorted(RECORDED.glob("*.jsonl.gz")), ids=lambda path: path.stem)
def test_a_real_memcached_is_seen_to_suffer(trace):
    """Two minutes on a real Mesos: aggressors come, go, come again, are throttled, and then let go once more."""
    pipeline, throughput, told = Pipeline.load(), {}, []
    for frame in read_trace(trace):
        for at in [at for at, each in enumerate(frame.containers) if each.job == "memcached"]:
            throughput[frame.t] = frame.column("sli")[at]
        told += [frame.t for finding in pipeline.step(frame) if finding.contention.protected.job == "memcached"]
    alone = np.nanmedian(list(throughput.values())[:15])
    suffers = [t for t, now in throughput.items() if now < 0.8 * alone]
    onsets = [t for t in suffers if not any(t - 6.0 < other < t for other in suffers) and t < frame.t - 8.0]
    assert len(onsets) >= 2
    for onset in onsets:
        assert any(onset <= t <= onset + 8.0 for t in told), onset


@pytest.mark.parametrize("noise", [0.0, 0.003, 0.1, 0.3])
@pytest.mark.parametrize("what", ["cpu", "io", "llc"])
def test_signals_that_are_quiet_tell_no_later(made, what, noise):
    """They shift by thousands of deviations: as noise that is most unlikely since whatever moment it is reckoned."""
    luck, detector = np.random.default_rng(1), Interference(InterferenceParameters())

    def about(value):
        return value * luck.lognormal(0.0, noise)

    def row(bad):
        web = {"cpu": about(2.0), "run_delay": about(0.002), "psi_io": 0.0}
        if what == "cpu":
            web["run_delay"] += 0.6 * bad
        elif what == "io":
            web["psi_io"] = about(0.3) * bad
        else:
            web |= {
                "cycles": 6e9,
                "instructions": about(6e9) / (1.0 + 0.5 * bad),
                "llc_misses": about(1.2e7) * (1.0 + bad),
            }
        return made.production("web", None, **web)

    def step(t, bad):
        share = 1.0 if bad else 0.01
        task = {"cpu": 2.0, "llc_bytes": 15e6, "mem_bw": 1e10, "io_bytes": 2e8}
        burner = made.best_effort("b", **{name: about(value * share) for name, value in task.items()})
        return [each.cause for each in detector.step(made.frame(float(t), row(bad), burner, node=NODE))]

    assert not any(step(t, 0.0) for t in range(300))
    assert what in {cause for t in range(300, 303) for cause in step(t, 1.0)}


@pytest.mark.parametrize(
    "without, harm, cause",
    [
        (("llc_bytes", "mem_bw"), {"instructions": 4e9, "llc_misses": 1.6e7, "sli": 15.0}, {"llc", "memory_bandwidth"}),
        (("io_bytes",), {"psi_io": 0.3}, {"io"}),
    ],
)
def test_a_resource_whose_use_is_not_measured_may_be_used(made, without, harm, cause):
    node = Machine(made)
    assert not node.seconds(300, without=without)
    found = node.seconds(5, task={"cpu": 2.0, "io_bytes": 1e8}, without=without, **harm)
    assert found and found[-1].cause in cause


def test_who_gets_no_cpu_at_all_waits(made):
    node = Machine(made)
    assert not node.seconds(300)
    found = node.seconds(5, task={"cpu": 3.9}, cpu=0.005, run_delay=3.9, without=("cycles", "instructions", "sli"))
    assert found


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_a_latency_tells_harm_beside_a_start_that_is_not_unheard_of_where_there_are_no_counters(made, seed):
    """It may be the cache, the bandwidth or anything: each of them is not likelier than another phase, but together."""
    luck, detector, found = np.random.default_rng(seed), Interference(InterferenceParameters()), []
    starts, use = set(luck.integers(60, 1700, 80).tolist()), 0.02
    for t in range(1860):
        harm = t >= 1800
        if t in starts:
            use = luck.choice([0.02, 0.1, 0.3, 0.6, 1.0])
        web = {"cpu": 1.0, "run_delay": 0.01 * luck.lognormal(0.0, 0.3)}
        web["sli"] = 20.0 * (1.4 if harm else 1.0) * luck.lognormal(0.0, 0.06)
        others = made.best_effort("b", cpu=use * luck.lognormal(0.0, 0.05))
        rows = made.production("web", made.latency, **web), others, made.best_effort("hog", cpu=1.0 if harm else 0.02)
        found += [(t, each.cause) for each in detector.step(made.frame(float(t), *rows, node=NODE))]
    assert found and 1800 < found[0][0] <= 1803 and {cause for _, cause in found} == {"slo"}
