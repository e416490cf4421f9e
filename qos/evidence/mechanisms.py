"""How interference of each kind shows in the signals, and the likelihood of what was seen.  Pure.

A slowdown h by one mechanism moves the signals that belong to it, together and by amounts
that physics bounds; a phase of the program moves counters freely; noise moves nothing for
long.  Each is a hypothesis about the shifts since a moment τ, and they are compared by
their likelihoods.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serenity.qos.contention import Cause
from serenity.qos.evidence import pressure, signals
from serenity.qos.evidence.shifts import Shifts
from serenity.qos.frame import Floats

# Sizes of slowdown that are looked for: from what is barely worth a correction to what more
# than doubles the time, each twice the last; what lies between is met by the responses' spread.
SLOWDOWNS = np.array([0.05, 0.1, 0.2, 0.4, 0.8, 1.6])


@dataclass(frozen=True, slots=True)
class Size:
    """A signal moves by `mean` ± `spread` (standard deviation) times what the slowdown alone would be.

    For a ratio that is log(1 + h); for a share of time, which grows by h itself,
    log((base + h) / base).
    """

    mean: float
    spread: float
    chance: float = 1.0


class Response:
    """A signal moves by one of some sizes, or, as far as their chances leave it, not at all."""

    def __init__(self, signal: int, *sizes: Size) -> None:
        self.signal = signal
        self.sizes = sizes
        self.still = 1.0 - sum(each.chance for each in sizes)


# Chances are judgements, not measurements: usual, or now and then.  To be wrong by half of one costs ln 2 of evidence.
# CPI is the slowdown itself, and spreads by half an octave of the bank.
_SLOWS = Response(signals.CPI, Size(1.0, 0.25))
# Misses are a part of CPI, so they grow at least as much as what they cause.
_MISSES = Response(signals.MPKI, Size(2.0, 1.0))
# Bandwidth makes each miss dearer; where prefetches come too late, some more of them.
_SOME_MISSES = Response(signals.MPKI, Size(0.5, 0.5, 0.8))
# Whoever needs what it has in the cache slows down as it loses it.  But how much that hurts is each program's own, and
# what is taken may be won back at once.
_EVICTED = Response(signals.LLC, Size(1.0, 0.5, 0.6), Size(2.0, 2.0, 0.3))
_WAITS = Response(signals.DELAY, Size(1.0, 0.4))
_WAITS_IO = Response(signals.PSI_IO, Size(1.0, 0.4))
_WAITS_MEMORY = Response(signals.PSI_MEMORY, Size(1.0, 0.4))
# Latency is the time of service and queueing: in proportion, some more or less.
_SUFFERS = Response(signals.SLI, Size(1.0, 0.5))
# But what is asked for is answered, if later, until there is no time left; and most of a latency may be others'.
_MAY_SUFFER = Response(signals.SLI, Size(1.0, 0.5, 0.8))
# Who takes cache or bandwidth computes as well: now and then there is waiting for CPU beside it, much or little.
_MAY_WAIT = Response(signals.DELAY, Size(1.0, 1.0, 0.1))
RESPONSES = (
    _SLOWS,
    _MISSES,
    _SOME_MISSES,
    _EVICTED,
    _WAITS,
    _WAITS_IO,
    _WAITS_MEMORY,
    _SUFFERS,
    _MAY_SUFFER,
    _MAY_WAIT,
)
# All sizes of all responses in one array, so that they are judged at once; and where each response's begin.
_SIGNAL = np.array([each.signal for each in RESPONSES for _ in each.sizes])
_MEAN, _SPREAD, _CHANCE = (
    np.array(each)[:, None, None, None]
    for each in zip(*((size.mean, size.spread, size.chance) for each in RESPONSES for size in each.sizes), strict=True)
)
_FIRST = np.cumsum([0, *(len(each.sizes) for each in RESPONSES[:-1])])
_WAIT = signals.WAITS[_SIGNAL][:, None, None, None]
_MAY = np.array([place for place, each in enumerate(RESPONSES) if each.still > 0.0])
_STILL = np.array([RESPONSES[place].still for place in _MAY])[:, None, None, None]


@dataclass(frozen=True, slots=True)
class Mechanism:
    cause: Cause
    resource: int  # Who presses on it is suspected.
    responses: tuple[Response, ...]
    by_capacity: bool  # Whether only who holds a good part of the resource can hurt.
    stalls: int | None = None  # The signal in which the container's own stalls look the same.


MECHANISMS = (
    Mechanism("llc", pressure.LLC, (_SLOWS, _MISSES, _EVICTED, _MAY_SUFFER, _MAY_WAIT), by_capacity=True),
    Mechanism("memory_bandwidth", pressure.MEM_BW, (_SLOWS, _SOME_MISSES, _MAY_SUFFER, _MAY_WAIT), by_capacity=True),
    Mechanism("unknown", pressure.CPU, (_SLOWS, _MAY_SUFFER, _MAY_WAIT), by_capacity=False),
    Mechanism("cpu", pressure.CPU, (_WAITS, _MAY_SUFFER), by_capacity=False, stalls=signals.DELAY),
    Mechanism("io", pressure.IO, (_WAITS_IO, _MAY_SUFFER), by_capacity=False, stalls=signals.PSI_IO),
    Mechanism("memory", pressure.RSS, (_WAITS_MEMORY, _MAY_SUFFER), by_capacity=False, stalls=signals.PSI_MEMORY),
    Mechanism("slo", pressure.CPU, (_SUFFERS,), by_capacity=False, stalls=signals.SLI),
)
SIGNALS_OF = np.array(
    [[float(s in {r.signal for r in each.responses}) for s in range(len(signals.SIGNALS))] for each in MECHANISMS]
)  # (mechanisms, signals): 1 where it takes part.
_TAKES_PART = np.array([[float(each in mechanism.responses) for each in RESPONSES] for mechanism in MECHANISMS])

# What a phase of the program itself moves, how far in logs, and how likely: other code touches
# other data, so that CPI and cache change by tens of percent and in unison (Sherwood, Sair and
# Calder, Phase tracking and prediction, ISCA 2003); whether users notice is anybody's guess.  Now
# and then it waits for itself, too, and for longer than a stall: near saturation a queue is long or
# short by chance.  Or its code is what it was, and counters stand still: others that it waits for,
# a service or a host, are slower or faster.
_PHASE = (
    (signals.CPI, 0.3, 0.9),
    (signals.MPKI, 0.5, 0.9),
    (signals.LLC, 0.4, 0.9),
    (signals.SLI, 0.3, 0.5),
    (signals.DELAY, 1.0, 0.02),
)
_OF_CODE = (signals.CPI, signals.MPKI, signals.LLC)
_PHASE_SIGNAL = np.array([signal for signal, _, _ in _PHASE])
_PHASE_SPREAD, _PHASE_ODDS = (np.array(each)[:, None] for each in zip(*(each[1:] for each in _PHASE), strict=True))


def at_most(seen: Shifts) -> Floats:
    """What no mechanism's log likelihood ratio exceeds: every signal as it would be likeliest.  Shaped as those."""
    worse = np.maximum(seen.delta, 0.0)
    each: Floats = np.log1p(worse * worse / (seen.variance * seen.tails)) * (seen.tails + 1.0) / 2.0
    bound = SIGNALS_OF @ each.swapaxes(0, 1).reshape(len(signals.SIGNALS), -1)
    return bound.reshape(len(MECHANISMS), len(each), -1)


def interference(seen: Shifts) -> tuple[Floats, Floats]:
    """Log likelihood ratio of each mechanism to "nothing has changed", and its likeliest slowdown.

    Slowdowns are equally likely beforehand.  Shapes (mechanisms, ages, containers).
    """
    responses = _responses(seen)
    together = _TAKES_PART @ responses.reshape(len(RESPONSES), -1)
    together = together.reshape(len(MECHANISMS), *responses.shape[1:])  # (mechanisms, slowdowns, ages, containers)
    best = together.max(axis=1)
    mixture = best + np.log(np.exp(together - best[:, None]).sum(axis=1) / len(SLOWDOWNS))
    return mixture, SLOWDOWNS[together.argmax(axis=1)]


def phase(seen: Shifts) -> Floats:
    """The same of a phase, of the code or of what it waits for: each of its signals has moved freely, or not.

    Both are as likely.  Shape (ages, containers).
    """
    delta, variance, tails = (each[:, _PHASE_SIGNAL] for each in (seen.delta, seen.variance, seen.tails))
    moved = _log_t(delta, variance + _PHASE_SPREAD**2, tails) - _log_t(delta, variance, tails)
    each = np.logaddexp(np.log1p(-_PHASE_ODDS), np.log(_PHASE_ODDS) + moved)
    of_others = each[:, ~np.isin(_PHASE_SIGNAL, _OF_CODE)].sum(axis=1)
    total: Floats = np.logaddexp(each.sum(axis=1), of_others) - np.log(2.0)
    return total


def change(seen: Shifts) -> Floats:
    """The same of any change at all, in any signal.  (ages, containers)."""
    moved = _log_t(seen.delta, seen.variance + 0.5**2, seen.tails) - _log_t(seen.delta, seen.variance, seen.tails)
    total: Floats = (np.logaddexp(0.0, moved) - np.log(2.0)).sum(axis=1)
    return total


def _responses(seen: Shifts) -> Floats:
    """Log likelihood ratio of each response to no shift; (responses, slowdowns, ages, containers)."""
    delta, variance, tails = (
        each[:, _SIGNAL].swapaxes(0, 1)[:, None] for each in (seen.delta, seen.variance, seen.tails)
    )
    base = np.maximum(np.exp(seen.level[:, _SIGNAL].swapaxes(0, 1)[:, None]), signals.LEAST_SHARE)
    size = np.log1p(SLOWDOWNS[:, None, None] / np.where(_WAIT, base, 1.0))
    expected = _MEAN * size
    # What has become better, or worse by less than is looked for, is judged by noise alone.
    spread = np.where(delta > expected[:, :1], _SPREAD * size, 0.0)
    with_harm = _log_t(delta - expected, variance + spread * spread, tails)
    ratio = np.log(_CHANCE) + with_harm - _log_t(delta, variance, tails)
    each: Floats = np.logaddexp.reduceat(ratio, _FIRST, axis=0)
    each[_MAY] = np.logaddexp(each[_MAY], np.log(_STILL))
    return each


def _log_t(distance: Floats, variance: Floats, freedom: Floats) -> Floats:
    """Student's t, without its constants: heavy tails, so that one wild sample decides nothing."""
    result: Floats = np.log1p(distance**2 / (variance * freedom))
    result *= -0.5 * (freedom + 1.0)
    result -= 0.5 * np.log(variance)
    return result
