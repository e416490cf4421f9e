"""By how much each signal of a container has shifted since each of some moments.  Pure.

For a moment τ, with y[t] = x[t] - φ x[t-1] of an AR(1) process that steps by δ at τ,

    y[τ] = (1 - φ) μ + δ + e        y[t > τ] = (1 - φ) μ + (1 - φ) δ + e        e ~ (0, σ²)

Generalised least squares over the samples since τ, with μ the mean of the samples before,
gives δ and its variance; that of μ is part of it.  (E.g. Box and Tiao, Intervention
analysis, JASA 1975: a step is seen best in its first innovation.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serenity.qos import signals
from serenity.qos.frame import Floats

Ints = npt.NDArray[np.intp]
# A level from fewer samples is none.
LEAST_BEFORE = 6
_UNKNOWN = 1e12  # Variance of what was not measured: no evidence for anything.


@dataclass(frozen=True, slots=True)
class Past:
    """The last samples of some containers, and the noise of their signals.

    `x`: (samples, signals + own, containers), NaN where not measured or not to be used.
    `phi`, `sigma`, `freedom`: (signals, containers).  `inflation`: (ages, signals, containers).
    """

    x: Floats
    phi: Floats
    sigma: Floats
    freedom: Floats  # Degrees of freedom, the tails of a single innovation.
    inflation: Floats
    wander: Floats


@dataclass(frozen=True, slots=True)
class Shifts:
    """All of shape (ages, signals, containers)."""

    delta: Floats  # In logs.
    variance: Floats
    tails: Floats  # Degrees of freedom: the tails of a mean thin out with its samples.
    level: Floats  # Of the signal before.


def shifts(past: Past, ages: Ints, before: int) -> Shifts:
    """Since the `ages`-th newest sample, against at most `before` samples before it."""
    count = len(signals.SIGNALS)
    x, own = past.x[:, :count], past.x[:, count:]
    n = len(x)
    start = n - ages
    begin = np.maximum(0, start - before)
    reference = _first_measured(x)
    centred = x - reference
    y = centred - past.phi * _held(centred)
    known = np.isfinite(y)
    sums, counts = _running(np.where(known, y, 0.0)), _running(known)
    q = 1.0 - past.phi
    # Before τ: the level and how well it is known.
    samples = counts[start] - counts[begin]
    level = (sums[start] - sums[begin]) / np.maximum(samples, 1.0) / q
    level_variance = past.sigma**2 / q**2 / np.maximum(samples, 1.0)
    # Since τ: its first sample weighs 1, the others 1 - φ.
    first = known[start]
    later = counts[n] - counts[start + 1]
    weighed = np.where(first, np.where(known, y, 0.0)[start] - q * level, 0.0)
    weighed = weighed + q * (sums[n] - sums[start + 1] - q * level * later)
    information = first + q * q * later
    usable = (samples >= LEAST_BEFORE) & (information > 1e-6)
    information = np.where(usable, information, 1.0)
    spread = q * (first + q * later) / information
    variance = past.sigma**2 / information + spread**2 * level_variance
    variance = variance * past.inflation + past.wander**2 + _explained(own, start, begin)
    return Shifts(
        delta=np.where(usable, weighed / information, 0.0),
        variance=np.where(usable, variance, _UNKNOWN),
        tails=past.freedom * np.maximum(first + later, 1.0),
        level=level + reference,
    )


def _explained(own: Floats, start: Ints, begin: Ints) -> Floats:
    """Variance for what the container's own doing may explain: (load response x its growth in logs)²."""
    known = np.isfinite(own)
    sums, counts = _running(np.where(known, own, 0.0)), _running(known)
    n = len(own)
    with np.errstate(divide="ignore", invalid="ignore"):
        after = (sums[n] - sums[start]) / (counts[n] - counts[start])
        before = (sums[start] - sums[begin]) / (counts[start] - counts[begin])
    grown = after - before
    # Work of which too little was counted says less than CPU, which is nearly always measured.
    counted = 2.0 * (counts[start] - counts[begin])[:, 0] >= (counts[start] - counts[begin])[:, 1]
    grown[:, 0] = np.where(np.isfinite(grown[:, 0]) & counted, grown[:, 0], grown[:, 1])
    grown = np.where(np.isfinite(grown), np.maximum(grown, 0.0), 0.0)
    explained: Floats = (signals.LOAD_RESPONSE[:, None] * grown[:, signals.EXPLAINED_BY]) ** 2
    return explained


def _running(values: Floats | npt.NDArray[np.bool_]) -> Floats:
    """Sums of the first 0, 1, 2, … samples."""
    out = np.zeros((len(values) + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, out=out[1:])
    return out


def _held(x: Floats) -> Floats:
    """The last measured value before each sample."""
    n = len(x)
    at = np.where(np.isfinite(x), np.arange(n)[:, None, None], -1)
    last = np.maximum.accumulate(at, axis=0)
    before = np.concatenate([np.full_like(last[:1], -1), last[:-1]])
    held = np.take_along_axis(x, np.maximum(before, 0), axis=0)
    return np.where(before >= 0, held, np.nan)


def _first_measured(x: Floats) -> Floats:
    """A reference, so that sums stay small; any value of the signal will do."""
    at = np.argmax(np.isfinite(x), axis=0)[None]
    value = np.take_along_axis(x, at, axis=0)
    return np.where(np.isfinite(value), value, 0.0)
