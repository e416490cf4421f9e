"""How interference of each kind shows in the signals, and the likelihood of the observed shifts.  Pure.

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

# The bank: sizes of slowdown that are looked for, each twice the last, from one that is barely worth a
# correction to one that more than doubles the time.  The responses' spread covers the sizes between.
SLOWDOWNS = np.array([0.05, 0.1, 0.2, 0.4, 0.8, 1.6])


@dataclass(frozen=True, slots=True)
class Size:
    """A signal moves by `mean` ± `spread` (standard deviation), in units of the slowdown h itself.

    For a ratio the unit is log(1 + h); for a share of time, which grows by h itself, it is
    log((base + h) / base).
    """

    mean: float
    spread: float
    chance: float = 1.0


class Response:
    """A signal moves by one of some sizes; with the chance that these leave, not at all."""

    def __init__(self, signal: int, *sizes: Size) -> None:
        self.signal = signal
        self.sizes = sizes
        self.still = 1.0 - sum(each.chance for each in sizes)


# Chances are judgements, not measurements: usual, or now and then.  A chance wrong by a factor two costs ln 2 of
# evidence.
# CPI is the slowdown itself, and spreads by half an octave of the bank.
_SLOWS = Response(signals.CPI, Size(1.0, 0.25))
# Misses are a part of CPI, so they grow at least as much as the slowdown that they cause.
_MISSES = Response(signals.MPKI, Size(2.0, 1.0))
# Contention for bandwidth makes each miss dearer; where prefetches come too late, there are some more misses.
_SOME_MISSES = Response(signals.MPKI, Size(0.5, 0.5, 0.8))
# A program that needs its cached data slows down as it loses them.  But how much the loss hurts differs by program, and
# a program may win lost cache back at once.
_EVICTED = Response(signals.LLC, Size(1.0, 0.5, 0.6), Size(2.0, 2.0, 0.3))
_WAITS = Response(signals.DELAY, Size(1.0, 0.4))
_WAITS_IO = Response(signals.PSI_IO, Size(1.0, 0.4))
_WAITS_MEMORY = Response(signals.PSI_MEMORY, Size(1.0, 0.4))
# Latency is the time of service and queueing: in proportion, some more or less.
_SUFFERS = Response(signals.SLI, Size(1.0, 0.5))
# But a throughput need not fall: requests are answered, if later, until there is no time left.  And most of a latency
# may arise in other services.
_MAY_SUFFER = Response(signals.SLI, Size(1.0, 0.5, 0.8))
# A task that takes cache or bandwidth computes as well: now and then the victim also waits for CPU, much or little.
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
# All sizes of all responses in one array, so that they are judged at once; _FIRST is where each response's sizes begin.
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
    resource: int  # The tasks that press on it are suspected.
    responses: tuple[Response, ...]
    by_capacity: bool  # Whether only a task with a good part of the resource can do harm.
    stalls: int | None = None  # The signal in which the container's own stalls look like the mechanism.


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
)  # (mechanisms, signals): 1 where the signal takes part.
_TAKES_PART = np.array([[float(each in mechanism.responses) for each in RESPONSES] for mechanism in MECHANISMS])

# The signals that a phase of the program itself moves, how far in logs, and how likely.  Other code touches
# other data, so that CPI and cache change by tens of percent and in unison (Sherwood, Sair and
# Calder, Phase tracking and prediction, ISCA 2003); whether users notice is anybody's guess.  Now
# and then the program also waits for itself, for longer than a stall: near saturation a queue is long or
# short by chance.  Or the same code runs, and the counters stand still, but a service or host that the
# program waits for has become slower or faster.
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
    """An upper bound of each mechanism's log likelihood ratio: each signal moves as is likeliest.  The same shape."""
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
    """Log likelihood ratio of a phase to "nothing has changed": each of its signals has moved freely, or not.

    A phase of the code and one of the services that it waits for are equally likely.  Shape (ages, containers).
    """
    delta, variance, tails = (each[:, _PHASE_SIGNAL] for each in (seen.delta, seen.variance, seen.tails))
    moved = _log_t(delta, variance + _PHASE_SPREAD**2, tails) - _log_t(delta, variance, tails)
    each = np.logaddexp(np.log1p(-_PHASE_ODDS), np.log(_PHASE_ODDS) + moved)
    of_others = each[:, ~np.isin(_PHASE_SIGNAL, _OF_CODE)].sum(axis=1)
    total: Floats = np.logaddexp(each.sum(axis=1), of_others) - np.log(2.0)
    return total


def change(seen: Shifts) -> Floats:
    """Log likelihood ratio of any change at all, in any signal.  Shape (ages, containers)."""
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
    # A signal that is better, or worse by less than the smallest slowdown makes it, gets the spread of noise alone.
    spread = np.where(delta > expected[:, :1], _SPREAD * size, 0.0)
    beside = delta - expected
    np.minimum(beside[:, -1], 0.0, out=beside[:, -1])  # The largest slowdown stands for all that are larger.
    with_harm = _log_t(beside, variance + spread * spread, tails)
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
