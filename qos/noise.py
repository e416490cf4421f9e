"""How noisy each signal of each container is, learnt as it goes.

A signal's samples depend on those before.  Taken for independent, an ordinary wander of
the signal would look like a change, and any false-alarm rate computed from it would be
fiction.  So each signal is modelled as a first-order autoregressive process around a level
that may jump; what is judged are its innovations, which are independent.
"""

from __future__ import annotations

import numpy as np

from serenity.qos.frame import Bools, Floats
from serenity.qos.rows import Places, moved

# The averages that the screening looks at: a change that is large is seen in the newest sample,
# a small one needs more of them, four times as many for half the size.
SCALES_S = np.array([0.0, 4.0, 16.0])
# Innovations beyond this many standard deviations are taken for it where they are averaged.
CLIP = 5.0
# Before so many samples a variance is not known to better than a third, and nothing is said.
LEAST_SAMPLES = 20
_FLOOR = 1e-8  # Variance, in square logs: a signal that never moves is measured to 1e-4 at best.
_MAX_PHI = 0.95
_FAR = 0.0455  # Of a Gaussian lies beyond two standard deviations,
_T_EXCESS = 0.146  # and so much more of Student's t, times its degrees of freedom.
_MOST_FREEDOM = 50.0
_BEYOND = 0.317  # Of a Gaussian lies beyond one standard deviation,
_DENSITY = 0.484  # and so much a unit is there, on both sides together.


class Noise:
    """Level, autocorrelation and innovations of `width` signals a row; arrays of shape (width, rows).

    With differences d1 = x[t] - x[t-1] and d2 = x[t] - x[t-2] of an AR(1) process,

        E d2² = 2 σ²   (σ²: the innovations' variance)      E d2² / E d1² = 1 + φ

    Unlike the sample autocovariance, both are blind to the level, and a jump of it disturbs
    two of them only; those are clipped at three deviations.  How far the innovations are from
    independent, or from constant in size, shows in their running means at SCALES_S: `inflation`
    is the variance of each, in units of what independence predicts.  It comes from the 68 %
    quantile of their sizes, followed by stochastic approximation, which changes of the program
    hardly disturb.  Nothing is learnt from rows that are held: those suffer.
    """

    def __init__(self, width: int, memory_s: float, level_s: float) -> None:
        self._width = width
        self._memory_s = memory_s
        self._level_s = level_s
        self._state = {name: np.full((width, 0), fresh) for name, fresh in _FRESH.items()}
        self.means = np.zeros((len(SCALES_S), width, 0))  # Running means of innovations, standardised.
        self._running = np.zeros((len(SCALES_S), width, 0))
        self.inflation = np.ones((len(SCALES_S), width, 0))
        self.wander = np.full((width, 0), 1e-3)
        self.phi = np.zeros((width, 0))
        self.sigma = np.zeros((width, 0))

    def move(self, places: Places) -> None:
        for name, fresh in _FRESH.items():
            self._state[name] = moved(self._state[name], places, fresh)
        self.means, self._running = moved(self.means, places, 0.0), moved(self._running, places, 0.0)
        self.inflation = moved(self.inflation, places, 1.0)
        self.wander = moved(self.wander, places, 1e-3)
        self.phi, self.sigma = moved(self.phi, places, 0.0), moved(self.sigma, places, 0.0)

    @property
    def tails(self) -> Floats:
        """Degrees of freedom of the Student's t that has as many innovations beyond two deviations.

        For t with its 68 % quantile scaled to 1, P(|t| > 2) - 0.0455 is 0.146 / ν within a tenth,
        for ν from 3 on (simulated).  Unlike a fourth moment, a count is not ruled by the few
        innovations that are real changes.
        """
        return np.minimum(_T_EXCESS / np.maximum(self._state["far"] - _FAR, 1e-9), _MOST_FREEDOM)

    @property
    def level(self) -> Floats:
        return self._state["level"]

    def learn(self, x: Floats, dt_s: float, held: Bools) -> None:
        """`x` of shape (width, rows); NaN leaves its state as it was.  Levels of `held` rows stay."""
        state = self._state
        measured = np.isfinite(x)
        count = state["count"]
        share = np.maximum(-np.expm1(-dt_s / self._memory_s), 1.0 / (count + 1.0))
        for name, before in (("square1", state["last"]), ("square2", state["last_but_one"])):
            square = np.square(x - before)
            mean = state[name]
            clipped = np.where(count > LEAST_SAMPLES, np.minimum(square, 9.0 * mean), square)
            step = share * (clipped - mean)
            state[name] = np.where(np.isnan(mean), square, mean + np.where(np.isnan(step) | held, 0.0, step))
        with np.errstate(divide="ignore", invalid="ignore"):
            phi = state["square2"] / state["square1"] - 1.0
        self.phi = np.clip(np.where(np.isfinite(phi), phi, 0.0), 0.0, _MAX_PHI)
        self.sigma = np.sqrt(np.maximum(np.nan_to_num(state["square2"]) / 2.0, _FLOOR))
        self._innovate(x, dt_s, count, held)
        fresh = np.isnan(state["level"])
        towards = np.maximum(-np.expm1(-dt_s / self._level_s), 1.0 / (count + 1.0))
        step = np.where(measured & ~held, towards * (x - state["level"]), 0.0)
        state["level"] = np.where(fresh, x, state["level"] + np.where(np.isnan(step), 0.0, step))
        apart = np.abs(state["level"] - state["slow"])
        rate = 2.0 * -np.expm1(-dt_s / (2.0 * self._memory_s)) / _DENSITY
        known = measured & ~held & (count > 2 * LEAST_SAMPLES) & np.isfinite(apart)
        self.wander *= 1.0 + np.where(known, rate * ((apart > self.wander) - _BEYOND), 0.0)
        towards = np.maximum(-np.expm1(-dt_s / (4.0 * self._level_s)), 1.0 / (count + 1.0))
        step = np.where(measured & ~held, towards * (x - state["slow"]), 0.0)
        state["slow"] = np.where(fresh, x, state["slow"] + np.where(np.isnan(step), 0.0, step))
        state["last_but_one"] = np.where(measured, state["last"], state["last_but_one"])
        state["last"] = np.where(measured, x, state["last"])
        state["count"] = count + measured

    def _innovate(self, x: Floats, dt_s: float, count: Floats, held: Bools) -> None:
        state = self._state
        innovation = (x - state["level"]) - self.phi * (state["last"] - state["level"])
        u = np.clip(innovation / self.sigma, -CLIP, CLIP)
        u = np.where(np.isfinite(u) & (count > LEAST_SAMPLES), u, 0.0)
        share = np.where(dt_s < SCALES_S, -np.expm1(-dt_s / np.maximum(SCALES_S, 1e-9)), 1.0)[:, None, None]
        self._running += share * (u - self._running)
        self.means = self._running / np.sqrt(share / (2.0 - share))
        slow = -np.expm1(-dt_s / (2.0 * self._memory_s))
        known = (count > 2 * LEAST_SAMPLES) & (u != 0.0) & ~held
        beyond = self.means * self.means > self.inflation
        # A standard Gaussian has density 0.48 at the quantile, which makes `slow` its rate of approach.
        step = 2.0 * slow / _DENSITY * (beyond - _BEYOND)
        self.inflation *= 1.0 + np.where(known, step, 0.0)
        rate = np.maximum(slow, 1.0 / (count + LEAST_SAMPLES))
        is_far = np.abs(u) > 2.0 * np.sqrt(self.inflation[0])
        state["far"] = state["far"] + rate * np.where(known, is_far - state["far"], 0.0)

    def relevel(self, place: int, level: Floats) -> None:
        """That row's level is `level` from now on (NaN: as it was)."""
        column = self._state["level"][:, place]
        self._state["level"][:, place] = np.where(np.isfinite(level), level, column)
        self._running[:, :, place] = 0.0


_FRESH = {
    "level": np.nan,
    "slow": np.nan,
    "last": np.nan,
    "last_but_one": np.nan,
    "square1": np.nan,
    "square2": np.nan,
    "count": 0.0,
    "far": _FAR + _T_EXCESS / 6.0,  # Until it is known: heavier tails than a Gaussian's.
}
