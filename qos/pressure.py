"""What best-effort tasks press on, how it rises, and how unusual such a rise is on this node."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serenity.qos.frame import Container, Floats, Frame
from serenity.qos.rows import Places as Ints
from serenity.qos.rows import Ring, Rows, moved

# The columns that stand for the resources that can be contended for.
RESOURCES = ("cpu", "llc_bytes", "mem_bw", "io_bytes", "rss_bytes")
CPU, LLC, MEM_BW, IO, RSS = range(len(RESOURCES))
_SPAN = 128  # Samples kept.
# A rise is the mean over so long after a moment, less the mean over as long before.
_MEAN_S = 10.0
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
        use = np.stack([frame.column(name) for name in RESOURCES])
        total = np.where(np.isnan(use), 0.0, use).sum(axis=1)
        np.maximum(self._most, total, out=self._most)
        node = frame.node
        capacity = np.array([node.cpus, node.llc_bytes, node.mem_bw, np.nan, node.mem_bytes])
        capacity = np.where(capacity > 0, capacity, np.maximum(self._most, 1e-9))
        share = use[:, self._places] / capacity[:, None]
        self._last = np.where(np.isnan(share), self._last, share)
        if self._ring.at_seam:  # Now and then, so that the sums stay as exact as the samples.
            self._ring.subtract(self._sum.copy())
            self._sum[:] = 0.0
        self._sum = self._sum + self._last
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

    def mean(self, newest: int, oldest: int) -> Floats:
        """Over the samples from the `oldest`-th newest to before the `newest`-th; (resources, rows)."""
        sums = self._ring.window(oldest + 1)
        last = len(sums) - 1 - newest
        first = max(0, last - (oldest - newest))
        if last <= first:
            return np.zeros_like(self._last)
        mean: Floats = (sums[last] - sums[first]) / (last - first)
        return mean

    def rise(self, age: int, dt_s: float, mean_s: float = _MEAN_S) -> Floats:
        """How much each row's pressure has risen `age` samples ago; shape (resources, rows)."""
        span = max(1, round(mean_s / dt_s))
        return self.mean(max(0, age - span), age) - self.mean(age, age + span)


class Coincidence:
    """How unusual a rise of best-effort pressure is on this node: the worth of its coinciding with a change.

    Harmless tasks start, pause and go on all the time.  That one of them does so when a
    production container changes proves nothing where that is usual, and much where it is not.
    Over each of WIDTHS_S, the greatest rise on each resource is ranked among those of the past
    (a histogram in steps of a quarter octave, forgotten over `memory_s`), which is its p-value.
    """

    WIDTHS_S = (2.0, 10.0, 30.0)  # Of the means before and after the moment: what begins at once, or by and by.
    _BINS = 96

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self._counts = np.zeros((len(self.WIDTHS_S), len(RESOURCES), self._BINS))
        self._known = Ring(_SPAN, len(RESOURCES), 1.0)  # By width; the moment is as many samples before.
        self._known.move(np.full(len(self.WIDTHS_S), -1, dtype=np.intp))
        self._begun = np.ones(len(RESOURCES))  # The worth of what has begun with the newest sample.

    def observe(self, pressure: Pressure, t: float, dt_s: float, onsets: Sequence[float]) -> None:
        """After every `pressure.observe`.  Rises near `onsets`, of contentions, did not come by chance."""
        self._counts *= np.exp(-dt_s / self._memory_s)
        worth = np.full((len(RESOURCES), len(self.WIDTHS_S)), _NOBODY)
        for i, width_s in enumerate(self.WIDTHS_S):
            age = self._samples(width_s, dt_s)
            if len(pressure) <= 2 * age or not pressure.rows.ids:
                continue
            bins = self._bins(pressure.rise(age, dt_s, width_s))
            worth[:, i] = self._worth(i, bins)
            if not any(abs(t - width_s - onset) <= max(width_s, _MEAN_S) for onset in onsets):
                self._counts[i, np.arange(len(RESOURCES)), bins] += 1.0
        self._known.push(t, worth)
        if pressure.rows.ids:
            self._begun = self._worth(0, self._bins(pressure.rise(1, dt_s, self.WIDTHS_S[0])))
        else:
            self._begun = np.full(len(RESOURCES), _NOBODY)

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

    def _worth(self, width: int, bins: Ints) -> Floats:
        counts = self._counts[width]
        seen = counts.sum(axis=1)
        above = np.array([counts[resource, first:].sum() for resource, first in enumerate(bins)])
        p = (above + 1.0) / (seen + 2.0)
        worth: Floats = 0.5 + 0.5 / (p * np.log(seen + 4.0))
        return worth

    @staticmethod
    def _samples(width_s: float, dt_s: float) -> int:
        return max(1, round(width_s / dt_s))

    def _bins(self, rises: Floats) -> Ints:
        octaves = np.log2(np.maximum(rises.max(axis=1), 1e-7))
        bins: Ints = np.clip(np.floor(4.0 * (octaves + 24.0)), 0, self._BINS - 1).astype(np.intp)
        return bins
