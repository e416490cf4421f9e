"""The odds of interference against all innocent explanations, from likelihoods and prior odds.  Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from serenity.qos.evidence import mechanisms
from serenity.qos.evidence.shifts import Shifts
from serenity.qos.frame import Floats

# A task that harms one container harms others that use the same resource: where a neighbour is known to suffer by some
# mechanism since some moment, the same is expected here.  Noise passes for it in at most one of so many contentions
# (Ville).
COMPANIONS = 1000.0


# A stall that a program causes itself, or its host does, mostly lasts for tenths of a second to some seconds.
_STALL_S = 2.0


@dataclass(frozen=True, slots=True)
class Beforehand:
    """Prior odds, all in logs."""

    interference: Floats  # Of each mechanism since each moment, for any container; (mechanisms, ages, 1).
    together: Floats  # 0 at a suffering neighbour's onset, less away from it, -inf without one; the same shape.
    stalls: Floats  # Of a stall of the container's own that looks like the mechanism; (mechanisms, containers).
    noise: float  # Number of samples in which noise may pass for interference once.
    phase: float  # Of the beginning of a phase of the program, against interference.


def odds(seen: Shifts, x: Floats, interval_s: float, before: Beforehand) -> tuple[Floats, Floats]:
    """Odds of each mechanism, moment and container, in logs; the likeliest slowdown.  (mechanisms, ages, containers).

    `x`: the newest samples of the signals, oldest first; (samples, signals, containers).
    """
    # Two tests, and both must be passed.  The first is against noise, whose tails are heavy over few samples;
    likely, slowdown = mechanisms.interference(seen)
    to_noise = np.maximum(before.interference - before.noise, before.together - math.log(COMPANIONS)) + likely
    # the second against innocent changes, which may begin at another moment than the interference that they look like.
    alike = seen.of_one_kind()
    likely = mechanisms.interference(alike)[0]
    phase = before.phase + mechanisms.phase(alike).max(axis=0)
    innocent = np.logaddexp(phase, _stall(seen, x, interval_s, before.stalls, likely))
    to_change = np.maximum(before.interference, before.together + before.phase) + likely - innocent
    return -np.logaddexp(-to_noise, -to_change), slowdown


def _stall(seen: Shifts, x: Floats, interval_s: float, beforehand: Floats, likely: Floats) -> Floats:
    """Odds, in logs, of a stall of the container's own: it looks like its mechanism, but is short; (containers,)."""
    best = np.full(x.shape[-1], -np.inf)
    rows = np.arange(x.shape[-1])
    for place, mechanism in enumerate(mechanisms.MECHANISMS):
        if (signal := mechanism.stalls) is not None:
            age = likely[place].argmax(axis=0)
            samples = lasted(x[:, signal], seen.level[age, signal, rows], seen.delta[age, signal, rows])
            # The stall may fill only part of its first sample, which therefore does not count.
            still = beforehand[place] - (samples - 1) * interval_s / _STALL_S
            np.maximum(best, still + likely[place].max(axis=0), out=best)
    return best


def lasted(x: Floats, level: Floats, delta: Floats) -> Floats:
    """For how many of the newest samples a shift by `delta` from `level` has most likely lasted; at least one.

    Each sample is evidence for or against the shift, by no more than one right at the shifted level or at `level`
    would be (Page's cumulative sum, backwards).
    `x` of shape (samples, containers), oldest first, NaN where not measured; the others (containers,).
    """
    shifted = (x - level) / np.maximum(delta, 1e-9) - 0.5
    told = np.where(np.isfinite(shifted), np.minimum(np.maximum(shifted, -0.5), 0.5), 0.0)
    samples: Floats = 1.0 + np.cumsum(told[::-1], axis=0).argmax(axis=0)
    return samples
