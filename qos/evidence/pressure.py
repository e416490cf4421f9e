"""The pressure of best-effort tasks on resources, how it rises, and how unusual such a rise is on this node."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serenity.qos.frame import Container, Floats, Frame
from serenity.qos.rows import Places as Ints
from serenity.qos.rows import Ring, Rows, moved

# The columns that stand for the resources that can be contended for.
RESOURCES = ("cpu", "llc_bytes", "mem_bw", "io_bytes", "rss_bytes")
CPU, LLC, MEM_BW, IO, RSS = range(len(RESOURCES))
# Capacities where none is known; they only set the scale of rises.  The most that was seen would be a wrong scale: a
# task that uses more than any before would seem to have used all of the resource before.
_SCALE = np.array([64.0, 64e6, 100e9, 1e9, 1e12])
_RESOURCE = np.arange(len(RESOURCES))
_ALL = slice(None)
_SPAN = 128  # Samples kept.
# A rise is the mean over this time after a moment, less the mean over the same time before.
_MEAN_S = 10.0
_BIN = np.arange(96)  # Of the histogram of rises: a quarter octave each.
_NOBODY = 1e-9  # Worth of a rise where there is no best-effort task to do harm.


class Pressure:
    """The last samples of every best-effort row's use of RESOURCES, in shares of the node's capacity.

    Where a capacity is not known, shares are of that of a large machine; `held` is then of the most that all rows of
    the frame together were seen to use.  A row that is not there presses on nothing; a missing sample repeats the last.
    A resource that is measured of no best-effort row may be used by any row that runs: its share of the CPU stands in.
    """

    def __init__(self) -> None:
        self.rows = Rows()
        self.containers: list[Container] = []  # The containers of the rows.
        self._containers: tuple[Container, ...] = ()
        self._places: Ints = np.zeros(0, dtype=np.intp)
        self._ring = Ring(_SPAN, len(RESOURCES), 0.0)
        self._last = np.zeros((len(RESOURCES), 0))
        self._sum = np.zeros((len(RESOURCES), 0))  # Of all samples; the ring keeps these sums: means are then cheap.
        self._most = np.full(len(RESOURCES), 1e-9)
        self._held_of = np.ones(len(RESOURCES))  # Factor that makes a share one of `held`.

    def observe(self, frame: Frame) -> None:
        if frame.containers is not self._containers:
            self._containers = frame.containers
            self._places = np.flatnonzero(~frame.production)
            self.containers = [frame.containers[place] for place in self._places]
            self._who([each.id for each in self.containers])
        use = np.array([frame.column(name) for name in RESOURCES])
        np.maximum(self._most, np.fmax(use, 0.0).sum(axis=1), out=self._most)
        node = frame.node
        capacity = np.array([node.cpus, node.llc_bytes, node.mem_bw, np.nan, node.mem_bytes])
        known = capacity > 0
        capacity[~known] = _SCALE[~known]
        self._held_of = np.where(known, 1.0, capacity / self._most)
        share = use.take(self._places, axis=1)
        share /= capacity[:, None]
        share[np.isnan(share).all(axis=1)] = share[CPU]
        np.copyto(self._last, share, where=~np.isnan(share))
        if self._ring.at_seam:  # Now and then, so that the sums stay as exact as the samples.
            self._ring.subtract(self._sum.copy())
            self._sum[:] = 0.0
        self._sum += self._last
        self._ring.push(frame.t, self._sum)

    def _who(self, ids: list[str]) -> None:
        places = self.rows.moves(ids)
        if places is not None:
            self._ring.move(places)
            self._last, self._sum = moved(self._last, places, 0.0), moved(self._sum, places, 0.0)

    def __len__(self) -> int:
        return len(self._ring)

    @property
    def now(self) -> Floats:
        return self._last

    @property
    def held(self) -> Floats:
        """What each row uses now, as a share of the capacity or else of the most seen in use; (resources, rows)."""
        return self._last * self._held_of[:, None]

    def since(self, t: float) -> int:
        """How many samples are not older than `t`."""
        times = self._ring.times(len(self._ring))
        return len(times) - int(np.searchsorted(times, t))

    def mean(self, newest: int, oldest: int, resource: int | slice = _ALL) -> Floats:
        """Mean over the `oldest` newest samples without the `newest` newest; (resources, rows), or (rows,) of one."""
        sums = self._ring.window(oldest + 1)[:, resource]
        last = len(sums) - 1 - newest
        first = max(0, last - (oldest - newest))
        if last <= first:
            return np.zeros_like(self._last[resource])
        mean: Floats = sums[last] - sums[first]
        mean /= last - first
        return mean

    def latest(self, samples: int, resource: int, rows: Ints) -> Floats:
        """The newest samples, at most as many as there are, oldest first; (samples, `rows`)."""
        latest: Floats = np.diff(self._ring.window(samples + 1)[:, resource, rows], axis=0)
        return latest

    def rise(self, age: int, dt_s: float, mean_s: float = _MEAN_S) -> Floats:
        """How much each row's pressure has risen `age` samples ago; shape (resources, rows)."""
        span = max(1, round(mean_s / dt_s))
        rise = self.mean(max(0, age - span), age)
        rise -= self.mean(age, age + span)
        return rise

    def greatest_rises(self, spans: Sequence[int]) -> Floats:
        """For each span, the greatest rise of any row, as a beginning (`_begun`), to the newest samples of that span.

        A rise is from the mean over as many samples before.  Shape (spans, resources).  There must be twice the span,
        and one sample more.
        """
        if not spans:
            return np.zeros((0, len(RESOURCES)))
        sums = self._ring.window(2 * max(spans) + 1)
        back = -1 - np.array(spans)
        middle, count = sums[back], np.array(spans, dtype=np.float64)[:, None, None]
        now = sums[-1] - middle
        now /= count
        middle -= sums[2 * back + 1]
        middle /= count
        greatest: Floats = _begun(now - middle, now).max(axis=2)
        return greatest


@dataclass(frozen=True, slots=True, eq=False)
class _Rises:
    """The greatest rise on each resource, as places in the histogram."""

    seen_at: float
    moment: float
    width: int
    bins: Ints


@dataclass(frozen=True, slots=True, eq=False)
class _Lookup:
    """Where the worth of rises of each age stands in the window of known worths; shape (ages, widths)."""

    ages: Ints
    widths: tuple[int, ...]
    samples: int
    at: Ints
    usable: Floats  # 1 where the width had passed since, else 0,
    count: Ints  # and for how many widths it had; (ages, 1).


class Coincidence:
    """How unusual a rise of best-effort pressure is on this node: the worth of its coinciding with a change.

    Harmless tasks start, pause and go on all the time.  A rise at the moment when a production
    container changes proves nothing where such rises are usual, and much where they are rare.
    Over each of WIDTHS_S, the greatest rise on each resource is ranked among those of the past
    (a histogram in steps of a quarter octave, forgotten over `memory_s`), which is its p-value.
    """

    WIDTHS_S = (2.0, 10.0, 30.0)  # Of the means before and after the moment: for sudden and for slow beginnings.

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        # For each bin, how many rises fell into it or above.
        self._reached = np.zeros((len(self.WIDTHS_S), len(RESOURCES), len(_BIN)))
        self._recent: deque[_Rises] = deque(maxlen=len(self.WIDTHS_S) * _SPAN)
        self._known = Ring(_SPAN, len(RESOURCES), 1.0)  # By width; a rise's moment is one width before it is known.
        self._known.move(np.full(len(self.WIDTHS_S), -1, dtype=np.intp))
        self._begun = np.ones(len(RESOURCES))  # The worth of rises that began with the newest sample.
        self._lookup: _Lookup | None = None  # The latest one: mostly it fits again.

    def observe(self, pressure: Pressure, t: float, dt_s: float, onsets: Sequence[float]) -> None:
        """To be called after every `pressure.observe`.  `onsets`: of the contentions that hold.

        A rise during a contention, or shortly before it, did not come by chance: it is unlearnt once that is known.
        """
        self._reached *= np.exp(-dt_s / self._memory_s)
        worth = np.full((len(RESOURCES), len(self.WIDTHS_S)), _NOBODY)
        if not pressure.rows.ids:
            self._known.push(t, worth)
            self._begun = np.full(len(RESOURCES), _NOBODY)
            return
        widths = self._widths(dt_s)
        seen = sum(len(pressure) > 2 * width for width in widths)  # Of so many, shortest first, all samples are there.
        bins = self._bins(pressure.greatest_rises(widths[:seen]))
        worth[:, :seen] = self._worth(bins).T
        if onsets:
            self._unlearn(t, min(onsets) - _MEAN_S)
        else:
            self._reached[:seen] += bins[:, :, None] >= _BIN
            for width, reached in enumerate(bins):
                self._recent.append(_Rises(t, t - self.WIDTHS_S[width], width, reached))
        self._known.push(t, worth)
        begun = _begun(pressure.rise(1, dt_s, self.WIDTHS_S[0]), pressure.mean(0, 1)).max(axis=1)
        self._begun = self._worth(self._bins(begun[None]))[0]

    def evidence(self, ages: Ints, dt_s: float) -> Floats:
        """Likelihood ratio of the rises `ages` samples ago, if one of them did harm, to chance; (ages, resources).

        For each width it is ½ + ½ / (p ln(1 / p_min)): half of all harm is taken to come without a rise, from
        tasks that were busy all along; the other half with a rise of any p-value from 1 down to the least
        possible, each octave equally likely.  All widths that have passed since count equally.
        """
        known = self._known.window(_SPAN)
        found = self._look_up(ages, self._widths(dt_s), len(known))
        ratios = known[found.at, :, np.arange(len(self.WIDTHS_S))]  # (ages, widths, resources)
        mean = (ratios * found.usable[:, :, None]).sum(axis=1) / np.maximum(found.count, 1)
        worth: Floats = np.where(found.count > 0, mean, self._begun)
        return worth

    def _look_up(self, ages: Ints, widths: tuple[int, ...], samples: int) -> _Lookup:
        known = self._lookup
        if known is None or known.ages is not ages or (known.widths, known.samples) != (widths, samples):
            at = samples - 1 - (ages[:, None] - widths)
            usable = (ages[:, None] >= widths) & (at >= 0)
            count = usable.sum(axis=1)[:, None]
            known = _Lookup(ages, widths, samples, np.where(usable, at, 0), usable.astype(np.float64), count)
            self._lookup = known
        return known

    def _unlearn(self, t: float, since: float) -> None:
        """Takes rises after `since` out of the histogram: they turned out to be no chance."""
        for each in [each for each in self._recent if each.moment >= since]:
            weight = math.exp((each.seen_at - t) / self._memory_s)
            self._reached[each.width] -= weight * (each.bins[:, None] >= _BIN)
            self._recent.remove(each)

    def _worth(self, bins: Ints) -> Floats:
        """Worth of rises over each of the first widths; (widths, resources), as `bins`."""
        width = np.arange(len(bins))
        seen = self._reached[: len(bins), :, 0]
        p = (self._reached[width[:, None], _RESOURCE, bins] + 1.0) / (seen + 2.0)
        worth: Floats = 0.5 + 0.5 / (p * np.log(seen + 4.0))
        return worth

    def _widths(self, dt_s: float) -> tuple[int, ...]:
        """WIDTHS_S, in samples."""
        return tuple(max(1, round(width_s / dt_s)) for width_s in self.WIDTHS_S)

    @staticmethod
    def _bins(rises: Floats) -> Ints:
        octaves = np.log2(np.maximum(rises, 1e-7))
        return np.minimum(np.maximum(4.0 * (octaves + 24.0), 0.0), len(_BIN) - 1.0).astype(np.intp)


def _begun(rise: Floats, now: Floats) -> Floats:
    """The part of a rise to `now` that is a beginning: all, where use has at least doubled; less, the more was there.

    Else a task that holds half of a cache would seem to begin with each wiggle, for these are as large as other tasks'
    starts.
    """
    begun: Floats = np.maximum(rise, 0.0)
    begun *= np.minimum(1.0, 2.0 * begun / np.maximum(now, 1e-12))
    return begun
