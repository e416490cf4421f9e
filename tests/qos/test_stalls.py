"""What a container waits for by itself, for a moment, is no interference."""

from __future__ import annotations

import numpy as np
import pytest

from serenity.qos.detectors.interference.detector import Interference, InterferenceParameters
from serenity.qos.evidence.odds import lasted
from serenity.qos.evidence.stalls import Stalls
from serenity.qos.frame import Node

NODE = Node(cpus=8.0, llc_bytes=3e7, mem_bw=2e10)


def after(begins, held=(), interval_s=1.0):
    """What is known of one signal of one row, once it went beyond noise in the seconds of `begins`."""
    stalls = Stalls(1)
    stalls.move(np.array([-1]))
    for t in range(3600):
        stalls.observe(np.array([[t in begins]]), interval_s, np.array([t in held]))
    return stalls


def test_before_anything_is_known_one_is_as_likely_as_interference():
    stalls = Stalls(1)
    stalls.move(np.array([-1]))
    assert stalls.per_hour == 1.0


def test_how_often_is_learnt():
    # An hour is remembered as 1 - 1/e of one; of 60 stalls, evenly spread over it, as many are.
    remembered = 1.0 - np.exp(-1.0)
    per_hour = after(range(30, 3600, 60)).per_hour
    assert per_hour == pytest.approx((60 * remembered + 1) / (remembered + 1), rel=0.02)
    assert after(()).per_hour == pytest.approx(1 / (remembered + 1), rel=0.02)


def test_what_turned_out_to_be_interference_is_not_counted():
    assert after((1800,), held=range(1805, 1830)).per_hour == pytest.approx(after(()).per_hour, rel=0.02)


@pytest.mark.parametrize(
    "x, samples",
    [
        ([0, 0, 0, 0, 0, 3], 1),
        ([0, 0, 0, 3, 3, 3], 3),
        ([0, 3, 3, 1, 3, 3], 5),  # One that tells against it outweighs no four.
        ([0, 3, 0, 0, 3, 3], 2),
        ([0, 0, 9, 0, 0, 3], 1),  # However far it was.
        ([0, 0, 0, 3, np.nan, 3], 3),
        ([3, 3, 3, 3, 3, 3], 6),
    ],
)
def test_how_long_it_has_lasted(x, samples):
    x = np.array(x, dtype=float)[:, None]
    assert lasted(x, np.array([0.0]), np.array([3.0])) == samples


class Quiet:
    """A service whose signals are quiet, as on a machine that is not full; a task beside it; a second at a time."""

    def __init__(self, made):
        self.made, self.t, self.luck = made, 0, np.random.default_rng(2)
        self.detector = Interference(InterferenceParameters())

    def seconds(self, count, burning=1.0, **columns):
        """The seconds in which something was found."""
        found = []
        for _ in range(count):
            self.t += 1
            usual = {"cpu": 2.0, "run_delay": 0.01, "psi_io": 0.001, "psi_memory": 0.0} | columns
            web = {name: value * self.luck.lognormal(0.0, 0.05) for name, value in usual.items()}
            task = self.made.best_effort("b", cpu=burning * self.luck.lognormal(0.0, 0.05), io_bytes=1e6 * burning)
            row = self.made.production("web", None, **web)
            if self.detector.step(self.made.frame(float(self.t), row, task, node=NODE)):
                found.append(self.t)
        return found


WAITS = [{"run_delay": 0.8}, {"psi_io": 0.5}, {"psi_memory": 0.4}]


@pytest.mark.parametrize("waits", WAITS)
@pytest.mark.parametrize("seconds", [1, 2, 3])
def test_a_moment_is_no_alarm(made, waits, seconds):
    quiet = Quiet(made)
    assert not quiet.seconds(200) + quiet.seconds(seconds, **waits) + quiet.seconds(100)


@pytest.mark.parametrize("waits", WAITS)
def test_what_lasts_is_one_though_nobody_began_anything(made, waits):
    quiet = Quiet(made)
    assert not quiet.seconds(200)
    found = quiet.seconds(12, **waits)
    assert found and 203 < found[0] <= 210


@pytest.mark.parametrize("waits", WAITS)
def test_what_begins_with_somebody_is_one_at_once(made, waits):
    quiet = Quiet(made)
    assert not quiet.seconds(200, burning=0.02)
    assert quiet.seconds(3, burning=4.0, **waits)


def test_who_stalls_every_minute_has_longer_ones_too(made):
    """Of six seconds: an alarm, by whom none was known before."""
    often, never = Quiet(made), Quiet(made)
    for _ in range(30):
        assert not often.seconds(57) + often.seconds(3, psi_io=0.5)
        assert not never.seconds(60)
    assert not often.seconds(60) + often.seconds(6, psi_io=0.5)
    assert not never.seconds(60) and never.seconds(6, psi_io=0.5)
    assert often.seconds(20, psi_io=0.5), "and yet what does not end is no stall"


@pytest.mark.parametrize("seconds", [4, 5])
def test_what_is_over_is_not_told(made, seconds):
    """The mean since it began is far from what was before, for as long as the seconds after it are few."""
    quiet = Quiet(made)
    assert not quiet.seconds(200) + quiet.seconds(seconds, psi_io=0.6) + quiet.seconds(60)


def test_stalls_follow_their_container():
    stalls = after((100,))
    before = stalls.per_hour[0, 0]
    stalls.move(np.array([-1, 0]))
    assert stalls.per_hour[0].tolist() == [1.0, before]


def test_who_asked_for_no_cpu_did_not_go_without_waiting(made):
    """Six threads wake at once, now and then, and wait for each other; in between they do nothing at all."""
    quiet = Quiet(made)
    asleep, awake = {"cpu": 0.0, "run_delay": 0.0}, {"cpu": 0.2, "run_delay": 0.06}
    for _ in range(30):
        assert not quiet.seconds(28, **asleep) + quiet.seconds(2, **awake)
    assert not quiet.seconds(28, **asleep)
    assert not quiet.seconds(20, burning=3.0, **awake), "as ever, only longer, while somebody happens to begin"
    assert not quiet.seconds(28, **asleep)
    assert quiet.seconds(4, burning=9.0, cpu=0.1, run_delay=0.9)
