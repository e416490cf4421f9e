"""How noisy each signal of each container is, learnt as it goes.

A signal's samples depend on the samples before.  If they were taken for independent, ordinary
wander of the signal would look like a change, and any false-alarm rate computed from it would be
fiction.  So each signal is modelled as a first-order autoregressive process around a level
that may jump; its innovations, which are independent, are judged.
"""

from __future__ import annotations

import functools

import numpy as np

from serenity.qos.frame import Bools, Floats
from serenity.qos.rows import Places, Ring, moved

# Time scales of the running means that the screening looks at: a large change shows in the newest sample,
# a change of half the size needs four times as many samples.
SCALES_S = np.array([0.0, 4.0, 16.0])
# Innovations are clipped at this many standard deviations before they are averaged.
CLIP = 5.0
# With fewer samples a variance is not known to better than a third, and innovations are not judged.
LEAST_SAMPLES = 20
_LEAST_DIFFERENCES = 6  # So many tell a size to a half.
# Squares are clipped at the square of two deviations; their mean is then _HUBER_MEAN of a Gaussian's variance (Huber's
# proposal 2).  A contention must not become part of the noise that it is compared with: each start and end of one is a
# difference or two of many deviations.  How often noise itself goes farther shows in `tails`.
_HUBER, _HUBER_MEAN = 4.0, 0.92
_MEDIAN = 0.455  # Median of the square of a standard Gaussian.
_FLOOR = 1e-8  # Variance, in square logs: a signal that never moves is measured to 1e-4 at best.
# Each later sample of a step has (1 - φ)² of the evidence of its first: here a dozen of them have as much as the first.
# With a greater φ all would rest on the first sample, and a slow change would pass for wander.  If the true φ is
# greater, that shows in `inflation`.
_MAX_PHI = 0.7
_WANDER = 1e-3  # Logs, until it is known.
_FAR = 0.0455  # The share of a Gaussian beyond two standard deviations,
_T_EXCESS = 0.146  # and the excess of Student's t over it, times its degrees of freedom.
# A sample beyond counts for the tails once so many have followed: it is known by then if a contention began with it.
KNOWN_AFTER = 8
_MOST_FREEDOM = 50.0
_BEYOND = 0.317  # The share of a Gaussian beyond one standard deviation,
_DENSITY = 0.484  # and its density there, both sides together.


class Noise:
    """Level, autocorrelation and innovations of `width` signals a row; arrays of shape (width, rows).

    With differences d1 = x[t] - x[t-1] and d2 = x[t] - x[t-2] of an AR(1) process,

        E d2² = 2 σ²   (σ²: the innovations' variance)      E d2² / E d1² = 1 + φ

    Unlike the sample autocovariance, both are blind to the level.  A jump of the level disturbs
    two differences at most, and these are clipped at two deviations.  How far the innovations are
    from independent, or from constant in size, shows in their running means at SCALES_S:
    `inflation` is the variance of each mean, in units of what independence predicts.  It comes
    from the 68 % quantile of the means' sizes, followed by stochastic approximation, which changes
    of the program hardly disturb.  Nothing is learnt from `held` rows, which are in a contention.
    """

    def __init__(self, width: int, memory_s: float, level_s: float) -> None:
        self._memory_s = memory_s
        self._level_s = level_s
        self._state = {name: np.full((width, 0), fresh) for name, fresh in _FRESH.items()}
        # Of each of the newest innovations: 1 if it is far above, else 0; NaN if it was not judged.
        self._newest_far = Ring(KNOWN_AFTER + 1, width, np.nan)
        self._newest = Ring(2 * LEAST_SAMPLES, width, np.nan)
        self.means = np.zeros((len(SCALES_S), width, 0))  # Running means of innovations, standardised.
        self._running = np.zeros((len(SCALES_S), width, 0))
        self.wild_for = np.zeros((width, 0))  # How many innovations in a row, to the newest, are beyond noise.
        self.inflation = np.ones((len(SCALES_S), width, 0))
        self.wander = np.full((width, 0), _WANDER)
        self.phi = np.zeros((width, 0))
        self.sigma = np.zeros((width, 0))

    def move(self, places: Places) -> None:
        for name, fresh in _FRESH.items():
            self._state[name] = moved(self._state[name], places, fresh)
        self._newest_far.move(places)
        self._newest.move(places)
        self.means, self._running = moved(self.means, places, 0.0), moved(self._running, places, 0.0)
        self.wild_for = moved(self.wild_for, places, 0.0)
        self.inflation = moved(self.inflation, places, 1.0)
        self.wander = moved(self.wander, places, _WANDER)
        self.phi, self.sigma = moved(self.phi, places, 0.0), moved(self.sigma, places, 0.0)

    @property
    def levels(self) -> Floats:
        """NaN where never measured; (width, rows)."""
        return np.where(self._state["count"] > 0, self._state["level"], np.nan)

    @property
    def freedom(self) -> Floats:
        """Degrees of freedom of σ and φ, however many samples are judged by these; (width, rows).

        Of the samples that they were learnt from, a half: what is clipped, or far from the median, does not count.
        """
        freedom: Floats = np.maximum(0.5 * self._state["count"], 1.0)
        return freedom

    @property
    def tails(self) -> Floats:
        """Degrees of freedom of the Student's t that has as many innovations more than two deviations above.

        For t with its 68 % quantile scaled to 1, P(|t| > 2) - 0.0455 is 0.146 / ν within a tenth, for ν from 3 on
        (simulated); half of these lie above.  Unlike a fourth moment, a count is not ruled by the few innovations that
        are real changes.  The lower tail says nothing of the upper one: waiting cannot be less than none, so that its
        noise is skewed upwards.  A deviation includes what own load explains, as in the judgement of shifts: else a
        container that works in bursts would seem to have such heavy tails that no shift of it could ever be found.
        """
        return np.minimum(_T_EXCESS / np.maximum(self._state["far"] - _FAR, 1e-9), _MOST_FREEDOM)

    def learn(self, x: Floats, dt_s: float, held: Bools, explained: Floats) -> None:
        """`x` of shape (width, rows); a signal that is NaN keeps its state.  Levels of `held` rows stay.

        `explained`: variance of each signal that the container's own load may explain; shaped as `x`.
        """
        state = self._state
        count, last = state["count"], state["last"]
        measured = np.isfinite(x)
        self._come_of_age(measured & (count == LEAST_SAMPLES))
        self._newest.push(0.0, x)
        x = np.where(measured, x, last)  # Any number will do: a sample that was not measured has no weight.
        free = (measured & ~held).astype(np.float64)
        first = 1.0 / (count + 1.0)  # The weight that makes a plain mean of the first samples.
        young = count < LEAST_SAMPLES
        self._learn_size(x, measured, free * np.maximum(_rate(dt_s, self._memory_s), first), young)
        self._innovate(x, dt_s, measured & ~young, free, explained)
        level, slow = state["level"], state["slow"]
        moves = measured & (~held | (count == 0.0))  # The first sample makes a level in `held` rows, too.
        # A short excursion must not move the level: it would be off for minutes, and all innovations with it.
        moves &= (self.wild_for == 0.0) | (self.wild_for > KNOWN_AFTER)
        _approach(level, x, moves * np.maximum(_rate(dt_s, self._level_s), first))
        rate = 2.0 * _rate(dt_s, 2.0 * self._memory_s) / _DENSITY
        known = free * (count > 2 * LEAST_SAMPLES)
        _approach_quantile(self.wander, np.abs(level - slow), rate, known)
        _approach(slow, x, moves * np.maximum(_rate(dt_s, 4.0 * self._level_s), first))
        np.copyto(state["last_but_one"], last, where=measured)
        np.copyto(last, x)
        count += measured

    def _come_of_age(self, ready: Bools) -> None:
        """Sets the noise size of signals that now have their first LEAST_SAMPLES, by most of their differences.

        A contention that began among these moved few of the differences, but by so much that their mean would take it
        for noise and wander, and would hide it and all later contentions for minutes.
        """
        rows = np.flatnonzero(ready.any(axis=0))
        if not len(rows):
            return
        x = self._newest.window(self._newest.span)[:, :, rows]
        for lag, name in ((1, "square1"), (2, "square2")):
            usual, mean = _usual(np.square(x[lag:] - x[:-lag])), self._state[name]
            mean[:, rows] = np.where(ready[:, rows] & np.isfinite(usual), usual, mean[:, rows])

    def _learn_size(self, x: Floats, measured: Bools, weight: Floats, young: Bools) -> None:
        state = self._state
        count = state["count"]
        begins = (measured & (count <= 2.0)).any()
        any_size = np.where(young, np.inf, 0.0)
        for lag, name, before in ((1, "square1", state["last"]), (2, "square2", state["last_but_one"])):
            mean = state[name]
            square = x - before
            square *= square
            np.minimum(square, any_size + _HUBER * mean, out=square)
            np.divide(square, _HUBER_MEAN, out=square, where=~young)
            if begins:  # The first difference is the first mean.
                _approach(mean, square, np.where(count > lag, weight, measured & (count == lag)))
            else:
                _approach(mean, square, weight)
        square1, square2 = state["square1"], state["square2"]
        phi = square2 / np.maximum(square1, 1e-300)
        phi -= 1.0
        self.phi = np.minimum(np.maximum(phi, 0.0, out=phi), _MAX_PHI, out=phi)
        sigma = square2 / 2.0
        self.sigma = np.sqrt(np.maximum(sigma, _FLOOR, out=sigma), out=sigma)

    def _innovate(self, x: Floats, dt_s: float, judged: Bools, free: Floats, explained: Floats) -> None:
        state = self._state
        u = x - state["level"]
        u -= self.phi * (state["last"] - state["level"])
        u /= self.sigma
        u *= judged
        variance = explained / self.sigma**2
        variance += self.inflation[0]
        deviation = np.sqrt(variance, out=variance)
        old = state["count"] > 2 * LEAST_SAMPLES
        self.wild_for = np.where(old & (u > CLIP * deviation), self.wild_for + 1.0, 0.0)
        np.minimum(np.maximum(u, -CLIP, out=u), CLIP, out=u)
        share = _shares(dt_s)
        _approach(self._running, u, share)
        np.divide(self._running, np.sqrt(share / (2.0 - share)), out=self.means)
        slow = _rate(dt_s, 2.0 * self._memory_s)
        known = free * (old & (u != 0.0))
        # A standard Gaussian has density 0.48 at the quantile, which makes `slow` its rate of approach.
        _approach_quantile(self.inflation, np.square(self.means), 2.0 * slow / _DENSITY, known)
        is_far = np.where(known > 0.0, u > 2.0 * deviation, np.nan)
        self._learn_tails(is_far, slow, free)

    def _learn_tails(self, is_far: Floats, slow: float, free: Floats) -> None:
        self._newest_far.push(0.0, is_far)
        is_far = self._newest_far.window(KNOWN_AFTER + 1)[0]
        weight = 1.0 / (self._state["count"] + LEAST_SAMPLES)
        np.maximum(slow, weight, out=weight)
        weight *= free
        weight *= np.isfinite(is_far)
        _approach(self._state["far"], np.where(is_far > 0.0, 2.0, 0.0), weight)

    def forget(self, signal: int, places: Places) -> None:
        """What was learnt of that signal of these rows does not hold."""
        for name, fresh in _FRESH.items():
            self._state[name][signal, places] = fresh
        self.means[:, signal, places] = self._running[:, signal, places] = 0.0
        self.inflation[:, signal, places], self.wander[signal, places] = 1.0, _WANDER
        self.wild_for[signal, places] = 0.0

    def renew(self, place: int, x: Floats) -> None:
        """Resets level and size of that row to those of `x`, shape (samples, width), where `x` has samples enough.

        The size, too: if a signal was zero before a contention, both were learnt while it stood still.
        """
        self.settle(place, x)
        for lag, name in ((1, "square1"), (2, "square2")):
            self._replace(place, name, _mean(np.square(x[lag:] - x[:-lag]), _LEAST_DIFFERENCES))

    def settle(self, place: int, x: Floats) -> None:
        """Resets the level to that of `x`, and the running means to none; the size stays."""
        self._replace(place, "level", _mean(x, 1))
        self._running[:, :, place] = 0.0

    def _replace(self, place: int, name: str, value: Floats) -> None:
        column = self._state[name][:, place]
        self._state[name][:, place] = np.where(np.isnan(value), column, value)


@functools.lru_cache(maxsize=8)
def _shares(dt_s: float) -> Floats:
    """The weight of a sample in the running means at SCALES_S; (scales, 1, 1)."""
    share: Floats = np.where(dt_s < SCALES_S, -np.expm1(-dt_s / np.maximum(SCALES_S, 1e-9)), 1.0)
    return share[:, None, None]


@functools.lru_cache(maxsize=64)
def _rate(dt_s: float, memory_s: float) -> float:
    """The weight of a sample in an exponential mean."""
    return float(-np.expm1(-dt_s / memory_s))


def _mean(x: Floats, least: int) -> Floats:
    """Mean of the measured samples over the first axis; NaN where these are fewer than `least`."""
    known = np.isfinite(x)
    count = known.sum(axis=0)
    return np.where(count >= least, np.where(known, x, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _usual(squares: Floats) -> Floats:
    """The mean, over the first axis, of the squares within three deviations, as estimated from the median.

    The mean of all, where these are fewer than _LEAST_DIFFERENCES or most of them are zero; NaN where there are none.
    """
    some = np.isfinite(squares).sum(axis=0) >= _LEAST_DIFFERENCES
    median = np.full(squares.shape[1:], np.nan)
    median[some] = np.nanmedian(squares[:, some], axis=0)
    limit = np.where(median > 0.0, 9.0 / _MEDIAN * median, np.inf)
    return _mean(np.where(squares <= limit, squares, np.nan), 1)


def _approach(mean: Floats, sample: Floats, weight: Floats) -> None:
    """Moves `mean` in place."""
    step = sample - mean
    step *= weight
    mean += step


def _approach_quantile(quantile: Floats, sample: Floats, rate: float, known: Floats) -> None:
    """Moves the 68 % quantile in place, where `known` is 1: up if the sample is beyond it, else down half as far."""
    step = (sample > quantile).astype(np.float64)
    step -= _BEYOND
    step *= min(rate, 1.0)  # It stays positive.
    step *= known
    step += 1.0
    quantile *= step


# Zeros mean "not known" until `count` says otherwise.
_FRESH = {
    "level": 0.0,
    "slow": 0.0,
    "last": 0.0,
    "last_but_one": 0.0,
    "square1": 0.0,
    "square2": 0.0,
    "count": 0.0,
    "far": _FAR + _T_EXCESS / 6.0,  # Until it is known: heavier tails than a Gaussian's.
}
