"""What is held for normal: before a contention, while it lasts, and when it comes again."""

from __future__ import annotations

import numpy as np
import pytest

from serenity.qos.detectors.interference.detector import Interference, InterferenceParameters
from tests.qos.interference.played import NODE, Machine, Service, causes


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


def test_a_service_that_says_it_is_well_loses_nothing_while_its_counters_still_tell_of_contention(made):
    """Best-effort is held down and production is back, but somebody outside Mesos keeps the CPU busy."""
    service = Service(made)
    service.seconds(150, waits=0.1, throughput=1000.0, burning=0.05)
    (*_, harmed) = service.seconds(6, waits=4.0, throughput=500.0, burning=3.0)
    (*_, well) = service.seconds(6, waits=4.0, throughput=1000.0, burning=0.05)
    (*_, silent) = service.seconds(6, waits=4.0, burning=0.05)
    assert (harmed.cause, well.cause, silent.cause) == ("cpu", "cpu", "cpu")
    assert harmed.severity > 0.3 and well.severity == 0.0 and silent.severity > 0.3


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
