"""What detectors weigh: noise, shifts, coincidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from serenity.qos.evidence import signals
from serenity.qos.evidence.mechanisms import MECHANISMS, interference
from serenity.qos.evidence.noise import Noise
from serenity.qos.evidence.pressure import CPU, IO, Coincidence, Pressure
from serenity.qos.evidence.shifts import Past, Shifts, shifts
from serenity.qos.frame import Node

NODE = Node(cpus=8.0, llc_bytes=3e7, mem_bw=2e10)
SIGNALS, OWN = len(signals.SIGNALS), len(signals.OWN)
CPU_MECHANISM, UNKNOWN_MECHANISM = ([each.cause for each in MECHANISMS].index(cause) for cause in ("cpu", "unknown"))


def ar1(luck, n, rows, phi, sigma):
    x = np.zeros((n, rows))
    for t in range(1, n):
        x[t] = phi * x[t - 1] + luck.normal(0.0, sigma, rows)
    return x


def test_signals_are_told_in_their_units(made):
    """Seen: misses an instruction, called misses per 1000 instructions, in kill records too."""
    seen = {"cycles": 3e9, "instructions": 2e9, "llc_misses": 4e6, "llc_bytes": 5e6, "run_delay": 0.4, "cpu": 2.0}
    frame = made.frame(0.0, made.production("p", **seen, psi_io=0.1, psi_memory=0.2, sli=7.0))
    x = signals.look(frame, np.array([0]), 0.25, np.array([1.0]), np.array([0.0]))
    worse = [1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 1.0]  # Less cache is worse.
    told = [signals.value(at, worse[at] * x[at, 0]) for at in range(SIGNALS)]
    assert told == pytest.approx([1.5, 2.0, 5e6, 0.2, 0.1, 0.2, 7.0])


def test_however_long_a_gap_no_size_becomes_negative():
    luck, noise = np.random.default_rng(1), Noise(1, 300.0, 30.0)
    noise.move(np.full(40, -1))
    for k in range(2000):
        gap_s = 1000.0 if k in (500, 1000) else 1.0
        noise.learn(luck.normal(0.0, 1.0, (1, 40)), gap_s, np.zeros(40, dtype=bool), np.zeros((1, 40)))
    assert (noise.inflation > 0.1).all() and (noise.inflation < 10.0).all()
    assert (noise.wander > 0.0).all() and (noise.wander < 10.0).all()


@pytest.mark.parametrize("phi", [0.0, 0.4, 0.65])
def test_noise_learns_autocorrelation_and_size_across_a_jump(phi):
    x = ar1(np.random.default_rng(1), 1500, 40, phi, 0.02)
    x[900:] += 0.5
    noise = Noise(1, memory_s=300.0, level_s=30.0)
    noise.move(np.full(40, -1))
    for each in x:
        noise.learn(each[None], 1.0, np.zeros(40, dtype=bool), np.zeros((1, 40)))
    assert np.median(noise.phi) == pytest.approx(phi, abs=0.06)
    assert np.median(noise.sigma) == pytest.approx(0.02, rel=0.08)
    assert np.median(noise.inflation) == pytest.approx(1.0, abs=0.25)


def test_what_wanders_more_than_it_may_shows_in_the_variance_of_means():
    x = ar1(np.random.default_rng(1), 1500, 40, 0.9, 0.02)
    noise = Noise(1, memory_s=300.0, level_s=30.0)
    noise.move(np.full(40, -1))
    for each in x:
        noise.learn(each[None], 1.0, np.zeros(40, dtype=bool), np.zeros((1, 40)))
    assert np.median(noise.phi) == 0.7
    assert np.median(noise.inflation[-1]) > 1.5


def tails(x, explained=None, held=lambda t: False):
    """Median degrees of freedom after all of `x`, of shape (samples, rows)."""
    rows = x.shape[1]
    noise = Noise(1, memory_s=300.0, level_s=30.0)
    noise.move(np.full(rows, -1))
    explained = np.zeros(x.shape) if explained is None else explained
    for t, each in enumerate(x):
        noise.learn(each[None], 1.0, np.full(rows, held(t)), explained[t][None])
    return np.median(noise.tails)


def test_tails_are_those_upwards():
    """Waiting is never less than none: its noise leans upwards."""
    waits = np.log(0.01 + 0.01 * np.random.default_rng(3).lognormal(0.0, 0.6, (2000, 40)))
    assert tails(waits) < 10.0
    assert tails(-waits) > 30.0


def test_what_own_load_explains_is_no_tail():
    luck = np.random.default_rng(4)
    bursts = 0.3 * (luck.random((2000, 40)) < 0.08)
    x = luck.normal(0.0, 0.2, bursts.shape) + 4.0 * bursts
    assert tails(x) < 4.0
    assert tails(x, (4.0 * bursts) ** 2) > 30.0


def test_what_a_contention_begins_with_is_no_tail():
    """It is noticed with its third sample; every five minutes there is one, of 20 s."""
    noise = np.random.default_rng(5).normal(0.0, 0.02, (2000, 40))
    suffers = noise + 0.3 * (np.arange(2000) % 300 < 20)[:, None]
    assert tails(suffers, held=lambda t: 2 <= t % 300 < 20) > 30.0
    assert tails(suffers, held=lambda t: 15 <= t % 300 < 20) < 10.0


@pytest.mark.parametrize("phi", [0.0, 0.7])
@pytest.mark.parametrize("step", [0.0, 0.1])
def test_shifts_are_unbiased_and_as_uncertain_as_they_say(phi, step):
    rows, sigma = 400, 0.02
    x = np.full((100, SIGNALS + OWN, rows), np.nan)
    x[:, 0] = 3.0 + ar1(np.random.default_rng(2), 300, rows, phi, sigma)[200:]
    x[90:, 0] += step
    shape = (SIGNALS, rows)
    ones, zeros = np.ones((1, *shape)), np.zeros((1, *shape))
    past = Past(
        x,
        np.full(shape, phi),
        np.full(shape, sigma),
        np.full(shape, 50.0),
        np.full(shape, 1e9),
        ones,
        zeros,
        np.zeros(rows),
    )
    seen = shifts(past, np.array([10]), 60)
    error = seen.delta[0, 0] - step
    assert np.mean(error) == pytest.approx(0.0, abs=4 * sigma / np.sqrt(rows))
    assert np.std(error / np.sqrt(seen.variance[0, 0])) == pytest.approx(1.0, abs=0.12)
    assert (seen.variance[0, 1] > 1e9).all(), "what was not measured is evidence for nothing"


def test_what_comes_by_and_by_is_no_wander():
    """Of a signal that wanders a step is told by its first sample alone, and of a rise over 40 s nothing."""
    rows = 40
    x = 3.0 + ar1(np.random.default_rng(7), 1040, rows, 0.93, 0.011)
    x[1000:] += np.linspace(0.0, 0.6, 40)[:, None]
    noise = Noise(SIGNALS, memory_s=300.0, level_s=30.0)
    noise.move(np.full(rows, -1))
    samples = np.full((1040, SIGNALS + OWN, rows), np.nan)
    samples[:, 0] = x
    for each in samples[:, :SIGNALS]:
        noise.learn(each, 1.0, np.zeros(rows, dtype=bool), np.zeros((SIGNALS, rows)))
    inflation = np.maximum(noise.inflation[-1], 1.0)[None]
    past = Past(
        samples[-100:],
        noise.phi,
        noise.sigma,
        noise.tails,
        noise.freedom,
        inflation,
        noise.wander[None],
        np.zeros(rows),
    )
    seen = shifts(past, np.array([40]), 60)
    assert np.median(seen.delta[0, 0]) > 0.2, "the mean of the rise is 0.3"
    assert np.median(seen.delta[0, 0] / np.sqrt(seen.variance[0, 0])) > 4.0


def quiet_past(x, falls=0.0):
    """Of one container, hardly any noise in it."""
    shape = (SIGNALS, 1)
    ones, zeros = np.ones((1, *shape)), np.zeros((1, *shape))
    return Past(
        x, zeros[0], np.full(shape, 1e-3), np.full(shape, 50.0), np.full(shape, 1e9), ones, zeros, np.full(1, falls)
    )


def test_own_load_explains_waiting(made):
    x = np.full((80, SIGNALS + OWN, 1), np.nan)
    x[:, signals.DELAY] = -3.0
    x[:, SIGNALS] = 20.0
    x[70:, SIGNALS] += np.log(2.0)
    past = quiet_past(x)
    variance = shifts(past, np.array([10]), 60).variance[0, signals.DELAY, 0]
    # Of what is waited, of which e^-3 is four fifths; the rest was added.
    share = 1.0 - signals.LEAST_SHARE / np.exp(-3.0)
    assert variance == pytest.approx(
        (signals.SIGNALS[signals.DELAY].load_response * share * np.log(2.0)) ** 2, rel=1e-3
    )


def test_waiting_after_a_lull_is_not_compared_with_that_in_it(made):
    """In the lull neither instructions were counted nor was there anybody to wait for: work has not grown, CPU has."""
    x = np.full((80, SIGNALS + OWN, 1), np.nan)
    x[:, signals.DELAY] = -3.0
    x[:, SIGNALS], x[:, SIGNALS + 1] = 20.0, 1.0
    x[10:35, signals.DELAY], x[10:35, SIGNALS], x[10:35, SIGNALS + 1] = -4.5, np.nan, -3.0
    past = quiet_past(x)
    seen = shifts(past, np.array([10]), 60)
    assert seen.delta[0, signals.DELAY, 0] > 0.5
    assert seen.delta[0, signals.DELAY, 0] < np.sqrt(seen.variance[0, signals.DELAY, 0])


def test_a_throughput_that_falls_with_the_cpu_that_is_wanted_is_explained_and_with_that_which_is_withheld_is_not(made):
    def grown(cpu, waited):
        frames = [
            made.frame(0.0, made.production("web", cpu=cpu_now, run_delay=waited_now, sli=sli_now))
            for cpu_now, waited_now, sli_now in ((1.0, 1.0, 100.0), (cpu, waited, 50.0))
        ]
        before, after = (signals.look(each, np.array([0]), 0.25, np.array([-1.0]), np.array([0.0])) for each in frames)
        return (after - before)[SIGNALS:]

    def deviation(own):
        level = np.zeros((SIGNALS, 1))
        return np.sqrt(signals.explained(own, np.array([False]), np.array([1.0]), level)[signals.SLI, 0])

    assert deviation(grown(cpu=0.5, waited=0.5)) == pytest.approx(np.log(2.0))
    assert deviation(grown(cpu=0.5, waited=5.0)) == 0.0


def test_noise_that_is_hardly_known_makes_nothing_sure():
    """Half a minute tells little of how large noise is, and how autocorrelated: a wander may look like a change."""
    luck, rows, samples, phi = np.random.default_rng(3), 8000, 35, 0.85
    noise, x = Noise(SIGNALS, 300.0, 30.0), np.full((samples, SIGNALS + OWN, rows), np.nan)
    noise.move(np.full(rows, -1))
    x[:, signals.CPI] = ar1(luck, samples, rows, phi, 0.04)
    for each in x[:, :SIGNALS]:
        noise.learn(each, 1.0, np.zeros(rows, dtype=bool), np.zeros((SIGNALS, rows)))
    shape = (1, SIGNALS, rows)
    past = Past(x, noise.phi, noise.sigma, noise.tails, noise.freedom, np.ones(shape), np.zeros(shape), np.zeros(rows))

    def alarms(past):
        seen = [interference(shifts(past, np.array([age]), 60))[0][UNKNOWN_MECHANISM, 0] for age in (3, 6, 10, 12)]
        return (np.max(seen, axis=0) > np.log(10.0 * 86400.0)).sum()

    known = np.full(noise.freedom.shape, 1e9)
    assert 0 < 2 * alarms(past) < alarms(replace(past, freedom=known))


def test_the_largest_slowdown_stands_for_all_that_are_larger():
    """Of a service that gets a tenth of the CPU that it wants."""
    shape = (1, SIGNALS, 2)
    delta, variance, level = np.zeros(shape), np.full(shape, 1e12), np.full(shape, np.log(1.0 + signals.LEAST_SHARE))
    delta[0, signals.DELAY] = np.log([2.6, 10.0])  # Of a share of 1 it is 1.6 more, and 9.
    variance[0, signals.DELAY] = 0.01
    freedom = 50.0
    seen = Shifts(delta, variance, np.full(shape, freedom), level)
    ratio = interference(seen)[0][CPU_MECHANISM, 0]
    noise = -0.5 * (freedom + 1.0) * np.log1p(delta[0, signals.DELAY] ** 2 / (0.01 * freedom))
    by_the_largest, larger = ratio + noise  # How likely the shift is by the mechanism itself.
    assert larger == pytest.approx(by_the_largest, abs=1.0)


def test_a_rare_rise_is_worth_more_than_a_usual_one(made):
    def worth_at_the_end(pauses):
        pressure, coincidence = Pressure(), Coincidence(3600.0)
        for t in range(600):
            busy = 0.0 if any(p <= t < p + 15 for p in pauses) else 1.0
            pressure.observe(made.frame(float(t), made.best_effort("b", cpu=busy), made.best_effort("c", cpu=0.5)))
            coincidence.observe(pressure, float(t), 1.0, [])
        return coincidence.evidence(np.array([3]), 1.0)[0, CPU]

    rare, usual = worth_at_the_end([582]), worth_at_the_end([*range(40, 580, 30), 582])
    assert rare > 30.0 and usual < 8.0
    assert worth_at_the_end([]) < 1.0


def test_who_uses_more_than_anybody_before_has_begun_to(made):
    """The capacity of disks is not known, and the most that was seen grows with them."""
    pressure, coincidence = Pressure(), Coincidence(3600.0)
    for t in range(310):
        busy = 1e8 if t >= 305 else 1e4
        pressure.observe(made.frame(float(t), made.best_effort("b", io_bytes=busy), node=NODE))
        coincidence.observe(pressure, float(t), 1.0, [])
    assert coincidence.evidence(np.array([5]), 1.0)[0, IO] > 10.0
    assert pressure.held[IO] == [1.0]


def test_rises_of_a_contention_are_unlearnt_when_it_comes_to_light(made):
    """Every 100 s something begins; where a contention follows each time, late, it stays as rare as the first."""

    def worth_of_the_last(contended):
        pressure, coincidence, at = Pressure(), Coincidence(3600.0), np.array([3])
        for t in range(783):
            busy = t % 100 >= 80
            pressure.observe(
                made.frame(float(t), made.best_effort("b", cpu=float(busy)), made.best_effort("c", cpu=0.5))
            )
            onset = t - t % 100 + 80.0
            noticed = contended and busy and t >= onset + 12
            coincidence.observe(pressure, float(t), 1.0, [onset] if noticed else [])
        return coincidence.evidence(at, 1.0)[0, CPU]

    assert worth_of_the_last(contended=True) > 2.0 * worth_of_the_last(contended=False)


def test_who_holds_much_begins_with_none_of_its_wiggles(made):
    """They are as large as another's starts, and during a contention nothing is learnt of them."""
    luck, pressure, coincidence = np.random.default_rng(9), Pressure(), Coincidence(3600.0)
    for t in range(700):
        more = luck.uniform(0.9, 1.1) if t < 680 else 1.15
        hog = made.best_effort("hog", cpu=5.0 * more if t >= 600 else 0.1)
        other = made.best_effort("b", cpu=0.5 if t % 100 < 50 else 0.05)
        pressure.observe(made.frame(float(t), hog, other, node=NODE))
        coincidence.observe(pressure, float(t), 1.0, [600.0] if t >= 603 else [])
    start, wiggle = (coincidence.evidence(np.array([age]), 1.0)[0, CPU] for age in (100, 20))
    assert start > 30.0 and wiggle < 5.0


def test_noise_near_nothing_is_no_evidence_of_waiting():
    """Of likelihood ratios the mean is 1 where nothing has changed; a few times that is as good as a model is."""
    luck, samples, shape = np.random.default_rng(11), 2, (1, SIGNALS, 100_000)
    noise = np.log(signals.LEAST_SHARE * (1.0 + luck.lognormal(0.0, 0.5, (samples, shape[-1]))))
    level = np.full(shape, np.median(noise))
    delta, variance = np.zeros(shape), np.full(shape, 1e12)
    delta[0, signals.DELAY] = noise.mean(axis=0) - np.median(noise)
    variance[0, signals.DELAY] = np.quantile(np.abs(noise - np.median(noise)), 0.683) ** 2 / samples

    def mean_ratio(freedom):
        seen = Shifts(delta, variance, np.broadcast_to(samples * freedom, shape), level)
        return np.exp(interference(seen)[0][CPU_MECHANISM]).mean()

    thin = np.full((SIGNALS, 1), 50.0)
    assert mean_ratio(np.minimum(signals.most_freedom(level[0], 1.0), thin)) < 3.0 < mean_ratio(thin)
