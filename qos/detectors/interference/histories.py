"""What is known of each production container: newest samples, their noise, and since when they are of one normal."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from serenity.qos.evidence import signals
from serenity.qos.evidence.noise import SCALES_S, Noise
from serenity.qos.evidence.repeats import Repeats, repeated
from serenity.qos.evidence.shifts import Ints, Past, Shifts, shifts
from serenity.qos.evidence.stalls import Stalls
from serenity.qos.frame import Bools, Container, Floats, Frame
from serenity.qos.rows import Ring, Rows, moved
from serenity.qos.sampling import Sampling

_COUNT = len(signals.SIGNALS)
_SPAN = 128  # Samples kept of every container.
OLDEST_S = 60.0  # A change that has not shown by then is slower than any baseline is steady.
_LEAST_OLDEST = 6  # Samples, however far apart: with fewer a change could not be told from noise.
_GAP = 2.0  # Intervals: the first sample after a gap, however long, weighs in learning as two at most.
_LEAST_BEFORE = 20  # Samples of the baseline, however far apart: its standard error is then a fifth of a sample's.
# Ages from which the next scale is nearer, in logs.
_SCALES_MEET_S = np.sqrt(np.maximum(SCALES_S[:-1], 1.0) * SCALES_S[1:])


class Histories:
    """Of the production containers of the newest frame, one place each: the last axis of all arrays.

    `before_s`: how long a past makes the baseline of a change; `memory_s`: over which noise is learnt; below `min_cpu`
    cores hardware counters are not trusted.
    """

    def __init__(self, before_s: float, memory_s: float, min_cpu: float) -> None:
        self._before_s = before_s
        self._min_cpu = min_cpu
        self._rows = Rows()
        self._in_frame: tuple[Container, ...] = ()
        self._at: Ints = np.zeros(0, dtype=np.intp)  # The containers' rows in the frame.
        self.containers: list[Container] = []
        self._better = self._falls = np.zeros(0)
        self._ring = Ring(_SPAN, _COUNT + len(signals.OWN), np.nan)
        self.noise = Noise(_COUNT, memory_s, before_s / 2.0)
        self.stalls = Stalls(_COUNT)
        self._repeats = Repeats()  # Of the applications' indicators.
        self.last_innovations = np.zeros((_COUNT, 0))  # Of the sample before the newest.
        self._usual = np.zeros((len(signals.OWN), 0))  # The containers' own load: averages over half of `before_s`.
        self._start = np.zeros(0)  # Samples before it are of another normal, and not looked at.
        self._sampling = Sampling()
        self._dt_s = 1.0  # Since the frame before.
        self.interval_s = 1.0
        self.t = math.nan  # Of the newest frame.

    @property
    def places(self) -> Mapping[str, int]:
        """By container id."""
        return self._rows.places

    @property
    def oldest(self) -> int:
        """The greatest age, in samples, at which a change may have begun."""
        return max(_LEAST_OLDEST, round(OLDEST_S / self.interval_s))

    def __len__(self) -> int:
        """How many samples there are, at most as many as are kept."""
        return len(self._ring)

    def follow(self, frame: Frame) -> Ints | None:
        """To be called first with each frame.  Where the set of containers has changed: each one's old place, or -1."""
        dt_s, self.t = frame.t - self.t, frame.t
        self._sampling.observe(frame.t)
        self.interval_s = self._sampling.interval_s
        self._dt_s = min(dt_s, _GAP * self.interval_s) if dt_s > 0 else self.interval_s
        if frame.containers is self._in_frame:
            return None
        self._in_frame = frame.containers
        self._at = np.flatnonzero(frame.production)
        self.containers = [frame.containers[row] for row in self._at]
        falls = (each.indicator is not None and each.indicator.better == "higher" for each in self.containers)
        self._falls = np.array(list(falls), dtype=np.float64)
        self._better = 1.0 - 2.0 * self._falls
        places = self._rows.moves([each.id for each in self.containers])
        if places is not None:
            self._ring.move(places)
            self.noise.move(places)
            self.stalls.move(places)
            self._repeats.move(places)
            self._usual = moved(self._usual, places, np.nan)
            self._start = moved(self._start, places, frame.t)
        return places

    def learn(self, frame: Frame, held: Bools) -> None:
        """Takes the samples of the frame.  Nothing is learnt from `held` containers, which are in a contention."""
        usual = self.noise.levels[signals.SLI]
        x = signals.look(frame, self._at, self._min_cpu, self._better, usual)
        self._ring.push(frame.t, x)
        self.noise.forget(signals.SLI, self._repeats.observe(x[signals.SLI]))
        x[signals.SLI, self._repeats.now] = np.nan
        self.last_innovations = self.noise.means[0].copy()
        self.noise.learn(x[:_COUNT], self._dt_s, held, self._explained(x[_COUNT:]))
        self.stalls.observe(self.noise.wild_for == 1.0, self._dt_s, held)

    def _explained(self, own: Floats) -> Floats:
        """Variance of each signal that the present deviation of the container's own load explains; shaped as those."""
        self._usual = np.where(np.isnan(self._usual), own, self._usual)
        grown = own - self._usual
        weight = -math.expm1(-2.0 * self._dt_s / self._before_s)
        self._usual += weight * np.where(np.isnan(grown), 0.0, grown)
        return signals.explained(grown, np.isfinite(grown[0]), self._falls, np.nan_to_num(self.noise.levels))

    def samples(self, count: int, places: int | Ints) -> Floats:
        """The newest ones of the signals, oldest first; (samples, signals), or (samples, signals, `places`)."""
        newest: Floats = self._ring.window(count)[:, :_COUNT, places]
        return newest

    def times(self, count: int) -> Floats:
        """Of the newest samples, oldest first."""
        return self._ring.times(count)

    def shifts(self, places: Ints, ages: Ints) -> Shifts:
        """By how much the signals have shifted since the `ages`-th newest samples, each against the time before it."""
        before = min(_SPAN // 2, max(_LEAST_BEFORE, round(self._before_s / self.interval_s)))
        samples = before + int(ages.max())
        x = self._ring.window(samples)[:, :, places]
        old = self._ring.times(samples)[:, None] < self._start[places]
        np.copyto(x, np.nan, where=old[:, None])
        indicator = x[:, signals.SLI]
        indicator[repeated(indicator) & self._repeats.regular[places]] = np.nan
        scale = np.searchsorted(_SCALES_MEET_S, ages * self.interval_s)
        past = Past(
            x,
            self.noise.phi[:, places],
            self.noise.sigma[:, places],
            self.noise.tails[:, places],
            self.noise.freedom[:, places],
            np.maximum(self.noise.inflation[:, :, places][scale], 1.0),
            self.noise.wander[:, places] * np.minimum(1.0, ages * self.interval_s / OLDEST_S)[:, None, None],
            self._falls[places],
            self.interval_s,
        )
        return shifts(past, ages, before)

    def long_run(self, place: int) -> Floats:
        """The variance of a long mean of each signal, times its number of samples; (signals,)."""
        deviation: Floats = self.noise.sigma[:, place] / (1.0 - self.noise.phi[:, place])
        return deviation**2

    def since_start(self, place: int, most: int) -> int:
        """How many samples, of the `most` newest, were taken after the container's present normal began."""
        return int((self._ring.times(most) > self._start[place]).sum())

    def renew(self, place: int, since: float) -> None:
        """The samples since then are the new normal: level and size of the noise are theirs."""
        self._start[place] = since
        recent = self._ring.times(len(self._ring)) >= since
        self.noise.renew(place, self._ring.window(len(self._ring))[recent][:, :_COUNT, place])

    def settle(self, place: int, samples: int) -> None:
        """A new normal begins, at the level of the newest samples; the size of the noise stays."""
        self._start[place] = self.t
        self.noise.settle(place, self.samples(samples, place))
