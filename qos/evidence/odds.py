"""The odds of interference against all that is innocent: likelihoods, and what is known beforehand.  Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from serenity.qos.evidence import mechanisms
from serenity.qos.evidence.shifts import Shifts
from serenity.qos.frame import Floats

# What harms one harms others that use the same: where a neighbour is known to suffer by some mechanism since some
# moment, the same is expected here.  By noise alone it is believed in at most one contention out of so many (Ville).
COMPANIONS = 1000.0


# What a program waits for by itself, or by its host, mostly takes tenths of a second to some seconds.
_STALL_S = 2.0


@dataclass(frozen=True, slots=True)
class Beforehand:
    """In logs."""

    interference: Floats  # By that mechanism, since that moment, of any container; (mechanisms, ages, 1).
    together: Floats  # 0 where a neighbour is known to suffer by it since then, else -inf; the same shape.
    stalls: Floats  # That the container waits for itself as it would by that mechanism; (mechanisms, containers).
    noise: float  # Samples in which noise may be believed once.
    phase: float  # That a phase of the program began, to interference.


def odds(seen: Shifts, x: Floats, interval_s: float, before: Beforehand) -> tuple[Floats, Floats]:
    """Of each mechanism, moment and container, in logs; and the likeliest slowdown.  (mechanisms, ages, containers).

    `x`: the newest samples of the signals, oldest first; (samples, signals, containers).
    """
    # Two tests, and both must be passed.  Against noise, whose tails are heavy where it is of few samples;
    likely, slowdown = mechanisms.interference(seen)
    to_noise = np.maximum(before.interference - before.noise, before.together - math.log(COMPANIONS)) + likely
    # against what began at some other moment, maybe, than the interference that it is mistaken for.
    alike = seen.of_one_kind()
    likely = mechanisms.interference(alike)[0]
    phase = before.phase + mechanisms.phase(alike).max(axis=0)
    innocent = np.logaddexp(phase, _stall(seen, x, interval_s, before.stalls, likely))
    to_change = np.maximum(before.interference, before.together + before.phase) + likely - innocent
    return -np.logaddexp(-to_noise, -to_change), slowdown


def _stall(seen: Shifts, x: Floats, interval_s: float, beforehand: Floats, likely: Floats) -> Floats:
    """A stall of the container's own looks like its mechanism, but is short; (containers,)."""
    best = np.full(x.shape[-1], -np.inf)
    rows = np.arange(x.shape[-1])
    for place, mechanism in enumerate(mechanisms.MECHANISMS):
        if (signal := mechanism.stalls) is not None:
            age = likely[place].argmax(axis=0)
            samples = lasted(x[:, signal], seen.level[age, signal, rows], seen.delta[age, signal, rows])
            still = beforehand[place] - (samples - 1) * interval_s / _STALL_S  # Of its first sample it may be a part.
            np.maximum(best, still + likely[place].max(axis=0), out=best)
    return best


def lasted(x: Floats, level: Floats, delta: Floats) -> Floats:
    """For how many of the newest samples a shift by `delta` from `level` has, likeliest, lasted; at least one.

    Each tells for or against it, and none by more than the shift itself (Page's cumulative sum, backwards).
    `x` of shape (samples, containers), oldest first, NaN where not measured; the others (containers,).
    """
    shifted = (x - level) / np.maximum(delta, 1e-9) - 0.5
    told = np.where(np.isfinite(shifted), np.minimum(np.maximum(shifted, -0.5), 0.5), 0.0)
    samples: Floats = 1.0 + np.cumsum(told[::-1], axis=0).argmax(axis=0)
    return samples
