"""The signals that tell how a production container fares: logarithms that grow when it suffers.

In logarithms a slowdown by a factor is the same step for a fast and a slow program, noise
that is proportional to its signal has one size, and signals can be compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serenity.qos.frame import Bools, Floats, Frame

Ints = npt.NDArray[np.intp]

# A share of time below this is not worth a correction, whatever caused it: 1 % of waiting is a slowdown
# of 1 %.  It is added before the logarithm, so that noise in a share near zero moves the signal little.
LEAST_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Signal:
    """`load_response`: by how many logs it may grow without interference when the container's work grows by one log.

    It is a standard deviation: what load may explain, not what it must.  Waiting grows with
    1 / (1 - utilisation), so at high load it can be many times as steep as the load; CPI and
    cache misses move little with it.
    """

    name: str
    unit: str
    load_response: float
    wait: bool  # A share of time, offset by LEAST_SHARE; else a positive quantity.
    explained_by: str = "work"  # The own load that explains it: work, io_bytes or rss_bytes.
    scale: float = 1.0  # Factor for reports in `unit`; the analysis works without it.


SIGNALS = (
    Signal("cpi", "cycles per instruction", 0.2, wait=False),
    Signal("mpki", "LLC misses per 1000 instructions", 0.3, wait=False, scale=1000.0),
    Signal("llc_bytes", "bytes", 0.3, wait=False),
    Signal("run_delay", "s waited per CPU s", 4.0, wait=True),
    Signal("psi_io", "share of time", 1.0, wait=True, explained_by="io_bytes"),
    Signal("psi_memory", "share of time", 4.0, wait=True, explained_by="rss_bytes"),
    Signal("sli", "its own", 2.0, wait=False),
)
CPI, MPKI, LLC, DELAY, PSI_IO, PSI_MEMORY, SLI = range(len(SIGNALS))
# The container's own load, kept beside the signals, as logarithms.  Work is instructions.  Where these are not counted,
# CPU stands in, a worse measure: a container that is slowed down burns more CPU for the same work.  Its throughput (an
# indicator that falls when the application suffers), where it declares one, shows this.
OWN = ("work", "cpu", "io_bytes", "rss_bytes", "throughput", "cpu_wanted")
_WORK, _CPU, _THROUGHPUT, _CPU_WANTED = (OWN.index(each) for each in ("work", "cpu", "throughput", "cpu_wanted"))
WAITS = np.array([each.wait for each in SIGNALS])
_OFFSET = np.where(WAITS, LEAST_SHARE, 0.0)[:, None]
LOAD_RESPONSE = np.array([each.load_response for each in SIGNALS])
EXPLAINED_BY = np.array([OWN.index(each.explained_by) for each in SIGNALS])
# A throughput of zero has no logarithm, and is worse than any other: it counts as a hundredth of the usual level.
_NOTHING = math.log(0.01)
_WAIT_FREEDOM = 4.0  # Degrees of freedom of a share of zero, averaged over a second.
# The columns that `look` looks at.
READS = frozenset(("cpu", "cycles", "instructions", "llc_misses", "llc_bytes", "run_delay", "rss_bytes", "io_bytes"))
READS |= {"psi_io", "psi_memory", "sli"}


def look(frame: Frame, places: Ints, min_cpu: float, higher_is_better: Floats, usual: Floats) -> Floats:
    """Signals, then OWN, of the rows at `places`; shape (signals + own, places); NaN: not measured.

    Below `min_cpu` cores counters count too few events to be trusted, and are left out.
    `higher_is_better`: -1 where the indicator falls when the application suffers, else 1.  `usual`: the level of each
    container's indicator, as a signal.
    """

    def column(name: str) -> Floats:
        return frame.column(name).take(places)

    cpu, instructions = column("cpu"), column("instructions")
    out = np.empty((len(SIGNALS) + len(OWN), len(places)))
    own = out[len(SIGNALS) :]
    with np.errstate(divide="ignore", invalid="ignore"):
        own[0] = np.where((cpu >= min_cpu) & (instructions > 0), instructions, np.nan)
        own[1], own[2], own[3] = cpu, column("io_bytes"), column("rss_bytes")
        np.divide(column("cycles"), own[0], out=out[CPI])
        np.divide(column("llc_misses"), own[0], out=out[MPKI])
        out[LLC] = column("llc_bytes")
        # A container that gets next to no CPU waits all the time; one that wants next to none tells nothing.
        waited = column("run_delay")
        own[_CPU_WANTED] = cpu + np.where(waited > 0, waited, 0.0)
        np.divide(np.where(cpu + waited >= LEAST_SHARE, waited, np.nan), np.maximum(cpu, LEAST_SHARE), out=out[DELAY])
        out[PSI_IO], out[PSI_MEMORY], out[SLI] = column("psi_io"), column("psi_memory"), column("sli")
        out[: len(SIGNALS)] += _OFFSET
        np.log(out, out=out)
        out[LLC] *= -1.0
        out[SLI] *= higher_is_better
    np.copyto(out[SLI], usual - _NOTHING, where=np.isposinf(out[SLI]) & (higher_is_better < 0))
    own[_THROUGHPUT] = np.where(higher_is_better < 0, -out[SLI], np.nan)
    np.copyto(out, np.nan, where=~np.isfinite(out))
    return out


def explained(grown: Floats, counted: Bools, falls: Floats, level: Floats) -> Floats:
    """Variance of each signal, in square logs, that the container's own load may explain.

    `grown`: by how many logs each of OWN has grown, NaN where not known; shape (…, own, containers), the result (…,
    signals, containers).  `counted`: where work was counted; elsewhere CPU stands in, less what a throughput has lost,
    for more CPU for fewer answers is no load.  `falls`: 1 where the indicator falls when the application suffers, else
    0.  Such an indicator, mostly a throughput, falls also when there is less to do.  Then less CPU is wanted, too (used
    or waited for); not so where each instruction takes longer, or where the CPU is withheld.  `level`: of each signal
    before, shaped as the result.  Of a share of time only the share responds, not the LEAST_SHARE added to it: else
    four times nothing would explain any waiting.
    """
    known = np.where(np.isfinite(grown), grown, 0.0)
    work, cpu = known[..., _WORK, :], known[..., _CPU, :]
    np.copyto(work, cpu + np.minimum(0.0, known[..., _THROUGHPUT, :]), where=~counted)
    response: Floats = LOAD_RESPONSE[:, None] * np.maximum(known, 0.0).take(EXPLAINED_BY, axis=-2)
    response[..., SLI, :] += falls * np.maximum(-known[..., _CPU_WANTED, :], 0.0)
    response *= np.where(WAITS[:, None], np.maximum(0.0, 1.0 - LEAST_SHARE * np.exp(-level)), 1.0)
    response *= response
    return response


def most_freedom(level: Floats, interval_s: float) -> Floats:
    """Upper bound of the degrees of freedom of each signal's tails, where it is at `level`, in logs.

    Lognormal noise is skewed upwards once LEAST_SHARE is added.  Take a share that varies by half a log from second to
    second: if it is LEAST_SHARE, or three times that, log(share + LEAST_SHARE) is beyond four and five deviations as
    often as t with 8, or 16, degrees of freedom (simulated); these are proportional to the sum.  Own load may explain
    the skew, and so hide it from the learnt tails.  Over a longer interval the mean is skewed less.  Shapes (…,
    signals, containers).
    """
    thinnest = _WAIT_FREEDOM * np.exp(level) / LEAST_SHARE * max(1.0, interval_s)
    return np.where(WAITS[:, None], thinnest, np.inf)


def value(signal: int, logs: float) -> float:
    """The signal in its unit, from its logarithm."""
    told = SIGNALS[signal]
    return max(0.0, math.exp(logs) - LEAST_SHARE) if told.wait else told.scale * math.exp(logs)
