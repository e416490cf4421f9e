"""What best-effort tasks press on, how it rises, and how unusual such a rise is on this node."""

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
_RESOURCE = np.arange(len(RESOURCES))
_ALL = slice(None)
_SPAN = 128  # Samples kept.
# A rise is the mean over so long after a moment, less the mean over as long before.
_MEAN_S = 10.0
_BIN = np.arange(96)  # Of rises: a quarter octave each.
_NOBODY = 1e-9  # The worth where no best-effort task is that could do harm.


class Pressure:
    """The last samples of every best-effort row's use of RESOURCES, in shares of the node's capacity.

    Where a capacity is not known, the most that all rows together were seen to use stands in.
    A row that is not there presses on nothing; a sample that is missing is as the last one.
    """

    def __init__(self) -> None:
        self.rows = Rows()
        self.containers: list[Container] = []  # Whose the rows are.
        self._containers: tuple[Container, ...] = ()
        self._places: Ints = np.zeros(0, dtype=np.intp)
        self._ring = Ring(_SPAN, len(RESOURCES), 0.0)
        self._last = np.zeros((len(RESOURCES), 0))
        self._sum = np.zeros((len(RESOURCES), 0))  # Of all samples; the ring keeps the sums, so that means are cheap.
        self._most = np.zeros(len(RESOURCES))

    def observe(self, frame: Frame) -> None:
        if frame.containers is not self._containers:
            self._containers = frame.containers
            self._places = np.flatnonzero(~frame.production)
            self.containers = [frame.containers[place] for place in self._places]
            self._who([each.id for each in self.containers])
        use = np.array([frame.column(name) for name in RESOURCES])
        np.maximum(self._most, np.where(np.isnan(use), 0.0, use).sum(axis=1), out=self._most)
        node = frame.node
        capacity = np.array([node.cpus, node.llc_bytes, node.mem_bw, np.nan, node.mem_bytes])
        capacity = np.where(capacity > 0, capacity, np.maximum(self._most, 1e-9))
        share = use.take(self._places, axis=1) / capacity[:, None]
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

    def since(self, t: float) -> int:
        """How many samples are not older than `t`."""
        times = self._ring.times(len(self._ring))
        return len(times) - int(np.searchsorted(times, t))

    def mean(self, newest: int, oldest: int, resource: int | slice = _ALL) -> Floats:
        """Over the samples from the `oldest`-th newest to before the `newest`-th; (resources, rows), of one (rows,)."""
        sums = self._ring.window(oldest + 1)[:, resource]
        last = len(sums) - 1 - newest
        first = max(0, last - (oldest - newest))
        if last <= first:
            return np.zeros_like(self._last[resource])
        mean: Floats = sums[last] - sums[first]
        mean /= last - first
        return mean

    def rise(self, age: int, dt_s: float, mean_s: float = _MEAN_S) -> Floats:
        """How much each row's pressure has risen `age` samples ago; shape (resources, rows)."""
        span = max(1, round(mean_s / dt_s))
        rise = self.mean(max(0, age - span), age)
        rise -= self.mean(age, age + span)
        return rise


@dataclass(frozen=True, slots=True, eq=False)
class _Rises:
    """The greatest on each resource, as places in the histogram."""

    seen_at: float
    moment: float
    width: int
    bins: Ints


class Coincidence:
    """How unusual a rise of best-effort pressure is on this node: the worth of its coinciding with a change.

    Harmless tasks start, pause and go on all the time.  That one of them does so when a
    production container changes proves nothing where that is usual, and much where it is not.
    Over each of WIDTHS_S, the greatest rise on each resource is ranked among those of the past
    (a histogram in steps of a quarter octave, forgotten over `memory_s`), which is its p-value.
    """

    WIDTHS_S = (2.0, 10.0, 30.0)  # Of the means before and after the moment: what begins at once, or by and by.

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        # For each bin, how many rises were there or above.
        self._reached = np.zeros((len(self.WIDTHS_S), len(RESOURCES), len(_BIN)))
        self._recent: deque[_Rises] = deque(maxlen=len(self.WIDTHS_S) * _SPAN)
        self._known = Ring(_SPAN, len(RESOURCES), 1.0)  # By width; the moment is as many samples before.
        self._known.move(np.full(len(self.WIDTHS_S), -1, dtype=np.intp))
        self._begun = np.ones(len(RESOURCES))  # The worth of what has begun with the newest sample.

    def observe(self, pressure: Pressure, t: float, dt_s: float, onsets: Sequence[float]) -> None:
        """After every `pressure.observe`.  `onsets`: of the contentions that hold.

        A rise shortly before one or during it did not come by chance; that shows later, and it is unlearnt then.
        """
        self._reached *= np.exp(-dt_s / self._memory_s)
        worth = np.full((len(RESOURCES), len(self.WIDTHS_S)), _NOBODY)
        if not pressure.rows.ids:
            self._known.push(t, worth)
            self._begun = np.full(len(RESOURCES), _NOBODY)
            return
        ages = [self._samples(width_s, dt_s) for width_s in self.WIDTHS_S]
        widths = [i for i, age in enumerate(ages) if len(pressure) > 2 * age]
        rises = [pressure.rise(ages[i], dt_s, self.WIDTHS_S[i]) for i in widths]
        rises.append(pressure.rise(1, dt_s, self.WIDTHS_S[0]))
        *bins, begun = self._bins(np.array([each.max(axis=1) for each in rises]))
        for i, reached in zip(widths, bins, strict=True):
            worth[:, i] = self._worth(i, reached)
            if not onsets:
                self._learn(_Rises(t, t - self.WIDTHS_S[i], i, reached), 1.0)
        if onsets:
            self._unlearn(t, min(onsets) - _MEAN_S)
        self._known.push(t, worth)
        self._begun = self._worth(0, begun)

    def evidence(self, ages: Ints, dt_s: float) -> Floats:
        """Likelihood ratio of the rises `ages` samples ago given that one did harm, to chance; (ages, resources).

        For each width ½ + ½ / (p ln(1 / p_min)): harm is done as likely without a rise, by who
        was busy all along, as with one whose p-value is anywhere between 1 and the least
        there can be, each octave of it alike.  The widths that have passed since are as likely.
        """
        known = self._known.window(_SPAN)
        widths = np.array([self._samples(width_s, dt_s) for width_s in self.WIDTHS_S])
        at = len(known) - 1 - (ages[:, None] - widths)
        usable = (widths <= ages[:, None]) & (at >= 0)
        ratios = known[np.where(usable, at, 0), :, np.arange(len(widths))]  # (ages, widths, resources)
        count = usable.sum(axis=1)[:, None]
        mean = (ratios * usable[:, :, None]).sum(axis=1) / np.maximum(count, 1)
        worth: Floats = np.where(count > 0, mean, self._begun)
        return worth

    def _learn(self, rises: _Rises, weight: float) -> None:
        self._reached[rises.width] += weight * (rises.bins[:, None] >= _BIN)
        if weight > 0.0:
            self._recent.append(rises)

    def _unlearn(self, t: float, since: float) -> None:
        """What began after `since` has turned out to be no chance."""
        for each in [each for each in self._recent if each.moment >= since]:
            self._learn(each, -math.exp((each.seen_at - t) / self._memory_s))
            self._recent.remove(each)

    def _worth(self, width: int, bins: Ints) -> Floats:
        reached = self._reached[width]
        seen = reached[:, 0]
        p = (reached[_RESOURCE, bins] + 1.0) / (seen + 2.0)
        worth: Floats = 0.5 + 0.5 / (p * np.log(seen + 4.0))
        return worth

    @staticmethod
    def _samples(width_s: float, dt_s: float) -> int:
        return max(1, round(width_s / dt_s))

    @staticmethod
    def _bins(rises: Floats) -> Ints:
        octaves = np.log2(np.maximum(rises, 1e-7))
        return np.minimum(np.maximum(4.0 * (octaves + 24.0), 0.0), len(_BIN) - 1.0).astype(np.intp)
