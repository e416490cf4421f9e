"""The interference detector."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from bench.qos import frames
from bench.qos_delay import bound, delays
from serenity.qos.detectors.interference.detector import Interference, InterferenceParameters
from serenity.qos.frame import Node
from serenity.qos.pipeline import Pipeline
from serenity.qos.trace import read_trace

RECORDED = Path(__file__).with_name("recorded")

NODE = Node(cpus=8.0, llc_bytes=3e7, mem_bw=2e10)


def causes(made, seconds, press):
    """Those found; `press(t)` gives what the service's use and the two tasks' is multiplied by."""
    luck, detector = np.random.default_rng(6), Interference(InterferenceParameters())
    usual = {"cpu": 0.05, "llc_bytes": 1e5, "mem_bw": 1e6}
    service = {"cpu": 1.0, "cycles": 3e9, "instructions": 3e9, "llc_misses": 3e6, "llc_bytes": 4e6, "run_delay": 0.02}
    found = []
    for t in range(seconds):
        web, cache, burn = (
            {name: x * factors.get(name, 1.0) * luck.lognormal(0.0, 0.02) for name, x in columns.items()}
            for columns, factors in zip((service, usual, usual), press(t), strict=True)
        )
        tasks = made.best_effort("cache", **cache), made.best_effort("burn", **burn)
        frame = made.frame(float(t), made.production("web", None, **web), *tasks, node=NODE)
        found += [(t, each.cause) for each in detector.step(frame)]
    return found


def test_one_takes_the_cache_while_another_takes_the_cpu(made):
    """Neither mechanism explains all that is seen, and yet it is no phase of the program."""
    suffers = {"cycles": 2.0, "llc_misses": 4.0, "llc_bytes": 0.5, "run_delay": 45.0}
    found = causes(made, 215, lambda t: (suffers, {"llc_bytes": 200.0}, {"cpu": 80.0}) if t >= 200 else ({}, {}, {}))
    assert found and 200 <= found[0][0] <= 210 and {cause for _, cause in found} <= {"llc", "cpu"}


def test_what_comes_by_and_by_is_not_taken_for_normal_before_it_is_all_there(made):
    def press(t):
        on, pause = min(1.0, max(0.0, (t - 400) / 40)), t % 40 < 20
        return (
            {"cycles": 1 + 0.5 * on, "llc_misses": 1 + 0.6 * on},
            {"mem_bw": 1 + 8000 * on},
            {"mem_bw": 1 if pause else 8000},
        )

    found = causes(made, 480, press)
    assert found and found[0][0] >= 400 and found[-1][1] == "memory_bandwidth"


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


class Service:
    """A service and a task, a second at a time."""

    def __init__(self, made):
        self.made, self.luck, self.t = made, np.random.default_rng(3), 0
        self.detector = Interference(InterferenceParameters())

    def seconds(self, count, cpi=1.0, cpu=1.0, waits=0.01, burning=1.0, throughput=None, counted=True):
        found = []
        for _ in range(count):
            self.t += 1
            noise = np.exp(self.luck.normal(0.0, [0.02, 0.3]))
            columns = {"cpu": cpu}
            if counted:
                columns |= {"cycles": 3e9 * cpu, "instructions": 3e9 * cpu / (cpi * noise[0])}
            if throughput is not None:
                columns["sli"] = throughput * np.exp(self.luck.normal(0.0, 0.06))
            means = None if throughput is None else self.made.ops
            row = self.made.production("web", means, **columns, run_delay=cpu * waits * noise[1])
            found += self.detector.step(self.made.frame(float(self.t), row, self.made.best_effort("b", cpu=burning)))
        return found


def test_a_phase_of_the_program_is_no_alarm_and_becomes_the_baseline(made):
    service = Service(made)
    assert not service.seconds(150) and not service.seconds(60, cpi=1.3) and not service.seconds(60, cpi=0.8)


def test_a_load_step_is_no_alarm(made):
    service = Service(made)
    assert not service.seconds(150, cpu=1.0, waits=0.01)
    assert not service.seconds(60, cpu=2.0, waits=0.06)


@pytest.mark.parametrize("begins", range(12, 26))
def test_what_begins_before_the_noise_is_known_hides_nothing(made, begins):
    """Its start must not be learnt as the container's own ways: the same a minute later is found at once."""
    service = Service(made)
    service.seconds(begins, waits=0.1, throughput=1000.0, burning=0.05)
    service.seconds(15, waits=4.0, throughput=600.0, burning=3.0)
    service.seconds(30, waits=0.1, throughput=1000.0, burning=0.05)
    found = service.seconds(4, waits=4.0, throughput=600.0, burning=3.0)
    assert found and found[-1].cause == "cpu"
    assert found[-1].evidence.window_start == pytest.approx(begins + 46.0, abs=1.0)


def test_who_burns_more_cpu_for_fewer_answers_has_no_more_load(made):
    service = Service(made)
    assert not service.seconds(150, counted=False, waits=0.1, throughput=1000.0, burning=0.05)
    found = service.seconds(4, counted=False, cpu=1.5, waits=0.6, throughput=600.0, burning=3.0)
    assert found and found[-1].cause == "cpu"


def test_a_service_that_says_it_is_well_loses_nothing_while_its_counters_still_tell_of_contention(made):
    """Best-effort is held down and production is back, but somebody outside Mesos keeps the CPU busy."""
    service = Service(made)
    service.seconds(150, waits=0.1, throughput=1000.0, burning=0.05)
    (*_, harmed) = service.seconds(6, waits=4.0, throughput=500.0, burning=3.0)
    (*_, well) = service.seconds(6, waits=4.0, throughput=1000.0, burning=0.05)
    (*_, silent) = service.seconds(6, waits=4.0, burning=0.05)
    assert (harmed.cause, well.cause, silent.cause) == ("cpu", "cpu", "cpu")
    assert harmed.severity > 0.3 and well.severity == 0.0 and silent.severity > 0.3


def test_who_works_more_and_answers_more_waits_for_itself(made):
    service = Service(made)
    assert not service.seconds(150, counted=False, waits=0.1, throughput=1000.0)
    assert not service.seconds(30, counted=False, cpu=1.5, waits=0.6, throughput=1500.0)


def test_what_comes_back_soon_after_it_is_found_again(made):
    """What is left when it is given back in part is more than there was before, and no reason to expect anything."""
    service = Service(made)
    service.seconds(60, waits=0.05, burning=0.05)
    assert service.seconds(15, waits=4.0, burning=3.0)
    service.seconds(20, waits=0.4, burning=0.4)
    found = service.seconds(6, waits=4.0, burning=3.0)
    assert found and found[-1].evidence.window_start == pytest.approx(96.0, abs=1.0)


@pytest.mark.parametrize("pause", range(3, 12))
def test_what_comes_back_at_once_is_found_however_short_the_pause(made, pause):
    service = Service(made)
    service.seconds(60, waits=0.1, burning=0.05)
    service.seconds(20, waits=4.0, burning=3.0)
    service.seconds(pause, waits=0.1, burning=0.05)
    assert len(service.seconds(30, waits=4.0, burning=3.0)) >= 27
    assert not service.seconds(30, waits=0.1, burning=0.05)[6:]


def test_a_gap_in_the_frames_does_not_spoil_what_is_known(made):
    """The clock was set forward by a quarter of an hour, or nobody looked for so long."""
    luck, detector = np.random.default_rng(1), Interference(InterferenceParameters())
    found = []
    for k in range(1500):
        harm = k >= 1440
        web = {"cpu": 2.0, "run_delay": 0.02, "psi_io": 0.01, "psi_memory": 0.4 if harm else 0.0}
        web = {name: x * luck.lognormal(0.0, 0.1) for name, x in web.items()}
        task = made.best_effort("b", cpu=0.1 * luck.lognormal(0.0, 0.1), rss_bytes=6e9 if harm else 1e8)
        frame = made.frame(float(k if k < 300 else k + 900), made.production("web", None, **web), task, node=NODE)
        found += [(k, each.cause) for each in detector.step(frame)]
    assert found and found[0][0] in range(1440, 1446) and found[-1] == (1499, "memory")


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


def test_a_throughput_that_falls_with_the_load_is_no_alarm(made):
    service = Service(made)
    assert not service.seconds(150, cpu=2.0, throughput=1000.0, burning=0.05)
    assert not service.seconds(60, cpu=0.8, throughput=400.0, burning=3.0)


def test_a_job_that_did_harm_is_believed_sooner_as_it_presses_again(made):
    service = Service(made)

    def delay_s():
        assert not service.seconds(150, waits=0.02, burning=0.05)
        return next(second for second in range(30) if service.seconds(1, waits=0.07, burning=3.0))

    first = delay_s()
    assert service.seconds(30, waits=0.07, burning=3.0)  # It holds.
    service.seconds(60, waits=0.02, burning=0.05)
    assert delay_s() < first, first


@pytest.mark.parametrize("throughput", [300.0, 0.0])
def test_one_that_falls_or_ends_while_as_much_cpu_is_used_is(made, throughput):
    service = Service(made)
    assert not service.seconds(150, throughput=1000.0, burning=0.05)
    found = service.seconds(5, throughput=throughput, burning=3.0)
    assert found and (found[-1].cause, found[-1].evidence.signal) == ("slo", "cmd_get")


def test_waiting_that_begins_with_a_task_is(made):
    service = Service(made)
    assert not service.seconds(150, burning=0.05)
    found = service.seconds(4, waits=0.4, burning=3.0)
    assert found and (found[-1].cause, found[-1].evidence.signal) == ("cpu", "run_delay")
    assert found[-1].evidence.window_start == pytest.approx(151.0, abs=1.0)
    assert not service.seconds(20, burning=0.05)[8:], "it ends once the waiting does"


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


class Machine:
    """A service with counters and an indicator, and a task, a second at a time; what is given is other than usual."""

    def __init__(self, made, seed=1):
        self.made, self.luck, self.t, self.detector = (
            made,
            np.random.default_rng(seed),
            0,
            Interference(InterferenceParameters()),
        )

    def seconds(self, count, task=None, without=(), **service):
        found = []
        for _ in range(count):
            self.t += 1
            usual = {
                "cpu": 2.0,
                "run_delay": 0.01,
                "cycles": 6e9,
                "instructions": 6e9,
                "llc_misses": 1.2e7,
                "sli": 10.0,
            }
            usual |= {"psi_io": 0.0, "psi_memory": 0.0} | service
            web = {name: value * self.luck.lognormal(0.0, 0.05) for name, value in usual.items() if name not in without}
            columns = {"cpu": 0.02, "io_bytes": 1e4} | (task or {})
            burner = self.made.best_effort("b", **{name: x for name, x in columns.items() if name not in without})
            row = self.made.production("web", self.made.latency, **web)
            found += self.detector.step(self.made.frame(float(self.t), row, burner, node=NODE))
        return found


def test_an_indicator_that_is_slow_while_counters_stand_still_is_others_doing(made):
    """A service downstream is slow: no phase of the program, and no interference either."""
    for seed in range(4):
        node = Machine(made, seed)
        assert not node.seconds(300, task={"cpu": 1.0})
        assert not node.seconds(60, task={"cpu": 1.0}, sli=15.0)


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


def test_a_little_more_load_does_not_explain_waiting_near_nothing(made):
    node = Machine(made)
    quiet = {"run_delay": 0.002}
    assert not node.seconds(300, **quiet)
    assert not node.seconds(5, cpu=2.6, cycles=7.8e9, instructions=7.8e9, run_delay=0.003)
    found = node.seconds(4, task={"cpu": 2.0}, cpu=2.6, cycles=7.8e9, instructions=7.8e9, run_delay=1.3)
    assert found and found[-1].cause == "cpu"


def test_who_gets_no_cpu_at_all_waits(made):
    node = Machine(made)
    assert not node.seconds(300)
    found = node.seconds(5, task={"cpu": 3.9}, cpu=0.005, run_delay=3.9, without=("cycles", "instructions", "sli"))
    assert found


@pytest.mark.parametrize("seed", range(4))
def test_what_was_none_before_a_long_contention_is_learnt_anew_after_it(made, seed):
    """A signal that stood still, and then did not for longer than is borne with: one contention, and one end."""
    machine = Machine(made, seed)
    without = ("cycles", "instructions", "llc_misses", "sli", "psi_memory")
    assert not machine.seconds(300, without=without)
    held = []
    for _ in range(700):
        wild = 0.3 * machine.luck.lognormal(0.0, 0.3)
        held.append(bool(machine.seconds(1, task={"cpu": 2.0, "io_bytes": 1e8}, psi_io=wild, without=without)))
    assert held.index(True) <= 2 and held.index(False, 5) in range(595, 610) and not any(held[610:])
    assert not machine.seconds(60, without=without)


def test_one_sample_that_the_one_beside_it_does_not_bear_out_is_none(made):
    service = Service(made)
    assert not service.seconds(300, burning=0.05)
    assert not service.seconds(1, waits=0.1, burning=3.0) and not service.seconds(20, burning=0.05)


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


def test_what_was_harmed_a_moment_ago_is_no_baseline(made):
    """Somebody else begins soon after a contention has ended, and harms nobody."""
    luck, detector, wander, found = np.random.default_rng(0), Interference(InterferenceParameters()), 0.0, []
    for t in range(380):
        wander = 0.7 * wander + luck.normal(0.0, 0.01)
        slow, misses, holds = (2.3, 4.0, 0.5) if 240 <= t < 300 else (1.0, 1.0, 1.0)
        web = {"cpu": 1.0, "cycles": 3e9 * slow * np.exp(wander), "instructions": 3e9}
        web["llc_misses"], web["llc_bytes"] = [3e6 * misses, 4e6 * holds] * luck.lognormal(0.0, 0.05, 2)
        hog = made.best_effort("hog", cpu=0.5, llc_bytes=2e7 if 240 <= t < 300 else 1e5)
        other = made.best_effort("other", cpu=4.0 if t >= 312 else 0.1, llc_bytes=1e5)
        frame = made.frame(float(t), made.production("web", None, **web), hog, other, node=NODE)
        found += [t for _ in detector.step(frame)]
    assert 240 <= found[0] <= 243 and found[-1] <= 302


def test_what_was_not_measured_is_counted(made):
    service = Service(made)
    service.seconds(150, burning=0.05)
    found = service.seconds(4, waits=0.4, burning=3.0)
    found += service.seconds(3, waits=np.nan, burning=3.0)
    evidence = found[-1].evidence
    assert (evidence.signal, evidence.window_end) == ("run_delay", 157.0)
    assert (evidence.samples, evidence.missing) == (157.0 - evidence.window_start + 1, 3)


def test_after_an_absolution_the_present_is_the_baseline(made):
    service = Service(made)
    service.seconds(150, burning=0.05)
    assert service.seconds(5, waits=0.4, burning=3.0)
    service.detector.relearn("web")
    assert not service.seconds(60, waits=0.4, burning=3.0)


def test_containers_that_come_and_go_leave_nothing_and_disturb_nobody():
    detector = Interference(InterferenceParameters())
    for number, frame in enumerate(frames(9, renew_every=3)):
        assert detector.step(frame) == []
        if number == 300:
            break


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
