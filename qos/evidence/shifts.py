"""By how much each signal of a container has shifted since each of some moments.  Pure.

For a moment τ, with y[t] = x[t] - φ x[t-1] of an AR(1) process that steps by δ at τ,

    y[τ] = (1 - φ) μ + δ + e        y[t > τ] = (1 - φ) μ + (1 - φ) δ + e        e ~ (0, σ²)

Generalised least squares over the samples since τ, with μ the mean of the samples before,
gives δ and its variance, which includes that of μ.  (E.g. Box and Tiao, Intervention
analysis, JASA 1975: a step is seen best in its first innovation.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from serenity.qos.evidence import signals
from serenity.qos.frame import Floats

Ints = npt.NDArray[np.intp]
# Samples that a level needs at least.
LEAST_BEFORE = 6
_COUNTED = 0.9  # Share of the samples with CPU that must have work, too; a few are always missing.
_UNKNOWN = 1e12  # Variance of a shift that was not measured: no evidence for anything.


@dataclass(frozen=True, slots=True)
class Past:
    """The last samples of some containers, and the noise of their signals.

    `x`: (samples, signals + own, containers), NaN where not measured or not to be used.
    `phi`, `sigma`, `tails`, `freedom`: (signals, containers); `inflation`, `wander`: (ages, signals, containers);
    `falls`: (containers,).
    """

    x: Floats
    phi: Floats
    sigma: Floats
    tails: Floats  # Degrees of freedom: the tails of a single innovation,
    freedom: Floats  # and those with which sigma and phi are known.
    inflation: Floats
    wander: Floats
    falls: Floats  # 1 where the indicator falls when the application suffers, else 0.
    interval_s: float = 1.0


@dataclass(frozen=True, slots=True)
class Shifts:
    """All of shape (ages, signals, containers)."""

    delta: Floats  # In logs.
    variance: Floats
    tails: Floats  # Degrees of freedom: the tails of a mean thin out with its samples.
    level: Floats  # Of the signal before the moment.

    def of(self, containers: npt.NDArray[np.bool_]) -> Shifts:
        return Shifts(*(each[..., containers] for each in (self.delta, self.variance, self.tails, self.level)))

    def of_one_kind(self) -> Shifts:
        """With the same tails at every age: else a moment long ago may get more evidence from a smaller deviation."""
        return replace(self, tails=np.broadcast_to(self.tails.max(axis=0), self.tails.shape))


def shifts(past: Past, ages: Ints, before: int) -> Shifts:
    """Since the `ages`-th newest sample, against at most `before` samples before it."""
    count = len(signals.SIGNALS)
    n = len(past.x)
    start = n - ages
    begin = np.maximum(0, start - before)
    y, reference = _innovations(past.x[:, :count], past.phi)
    values = np.concatenate([y, past.x[:, count:]], axis=1)
    known = np.isfinite(values)
    values[~known] = 0.0
    # Sums and counts of the first 0, 1, 2, … samples; from them those up to τ, before it, and after τ's first sample.
    running = np.zeros((2, n + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, out=running[0, 1:])
    np.cumsum(known, axis=0, dtype=np.float64, out=running[1, 1:])
    at_start = running[:, start]
    earlier, since = at_start - running[:, begin], running[:, n, None] - at_start
    later_sum, later = running[:, n, None, :count] - running[:, start + 1, :count]
    sigma2, q = past.sigma**2, 1.0 - past.phi
    # Before τ: the level and how well it is known.
    before_sum, samples = earlier[:, :, :count]
    some = np.maximum(samples, 1.0)
    level = before_sum / some / q
    level_variance = sigma2 / q**2 / some
    # Since τ: its first sample weighs 1, the others 1 - φ.
    first = known[start, :count]
    expected = q * level
    weighed = np.where(first, values[start, :count] - expected, 0.0) + q * (later_sum - expected * later)
    information = first + q * q * later
    usable = (samples >= LEAST_BEFORE) & (2.0 * past.freedom >= LEAST_BEFORE) & (information > 1e-6)
    information[~usable] = 1.0
    spread = q * (first + q * later) / information
    variance = sigma2 / information + spread**2 * level_variance
    level += reference
    own = _explained(earlier[:, :, count:], since[:, :, count:], past.falls, level)
    variance = variance * past.inflation + past.wander**2 + own
    tails = np.minimum(past.tails, signals.most_freedom(level, past.interval_s))
    return Shifts(
        delta=np.where(usable, weighed / information, 0.0),
        variance=np.where(usable, variance, _UNKNOWN),
        tails=np.minimum(tails * np.maximum(first + later, 1.0), past.freedom),
        level=level,
    )


def _innovations(x: Floats, phi: Floats) -> tuple[Floats, Floats]:
    """x[t] - φ x[last measured before t], and a reference of each signal, which is taken off x to keep sums small."""
    measured = np.isfinite(x)
    at = np.arange(x.size).reshape(x.shape)
    # Before the first measured value `last` points to the first sample, which is NaN then.
    last = np.maximum.accumulate(np.where(measured, at, at[0]), axis=0)
    reference = np.ascontiguousarray(x).take(np.where(measured, at, x.size).min(axis=0), mode="clip")
    reference[~measured.any(axis=0)] = 0.0
    centred = x - reference
    y = np.full_like(centred, np.nan)
    np.subtract(centred[1:], phi * centred.take(last[:-1]), out=y[1:])
    return y, reference


def _explained(earlier: Floats, since: Floats, falls: Floats, level: Floats) -> Floats:
    """Variance that the container's own load may explain, by its growth from the mean before to the mean since."""
    with np.errstate(divide="ignore", invalid="ignore"):
        grown = since[0] / since[1] - earlier[0] / earlier[1]
    # CPU is nearly always measured, and tells whether work was counted all along.  Where it was not counted in a lull,
    # work would seem never to have been less, while the signals, which were measured then, were lower.
    counted = np.isfinite(grown[:, 0]) & (earlier[1, :, 0] >= _COUNTED * earlier[1, :, 1])
    return signals.explained(grown, counted, falls, level)
