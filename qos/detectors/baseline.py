"""A signal's baseline: the median of its past, without the most recent seconds."""

from __future__ import annotations

import numpy as np

from serenity.qos.frame import Bools, Floats
from serenity.qos.rows import Places, moved

_ROOM = 16  # Samples a row, to begin with.
# Relative.  The screening compares by another formula than the decision; rounding must not make it miss a row.
_ROUNDING = 1e-9


class LaggedBaselines:
    """For each row, the median of the measured samples that are between `lag_s` and `lag_s + span_s` old.

    The lag keeps a change that has just begun out of the baseline; the median keeps single
    outliers out.  While a row is frozen it learns nothing, and its samples do not age: after a
    contention they are as old as they were when the contention began.
    """

    def __init__(self, lag_s: float, span_s: float, min_samples: int, rows: int = 0) -> None:
        self._lag_s = lag_s
        self._span_s = span_s
        self._min_samples = min_samples
        # Each row fills its places in turn; shape (samples, rows), NaN where there is none.
        self._at = np.full((_ROOM, rows), np.nan)
        self._values = np.full((_ROOM, rows), np.nan)
        self._next = np.zeros(rows, dtype=np.intp)
        self._last = np.full(rows, -np.inf)  # Time of the latest sample learnt.
        self._oldest = np.full(rows, -np.inf)  # Older samples do not count.
        self._frozen_at = np.full(rows, np.nan)

    def move(self, places: Places) -> None:
        self._at, self._values = moved(self._at, places, np.nan), moved(self._values, places, np.nan)
        self._next = moved(self._next.astype(np.float64), places, 0.0).astype(np.intp)
        self._last, self._oldest = moved(self._last, places, -np.inf), moved(self._oldest, places, -np.inf)
        self._frozen_at = moved(self._frozen_at, places, np.nan)

    def learn(self, t: float, values: Floats) -> None:
        """One value a row; NaN: not measured.  A row whose last sample is after `t` starts anew: the clock was set."""
        rows = np.flatnonzero(np.isfinite(values) & np.isnan(self._frozen_at))
        if not len(rows):
            return
        for row in rows[self._last[rows] > t]:
            self.forget(int(row))
        self._oldest[rows] = np.maximum(self._oldest[rows], t - self._lag_s - self._span_s)
        if (self._at[self._next[rows], rows] >= self._oldest[rows]).any():
            self._make_room()
        self._at[self._next[rows], rows], self._values[self._next[rows], rows] = t, values[rows]
        self._next[rows] = (self._next[rows] + 1) % len(self._at)
        self._last[rows] = t

    def value(self, t: float, row: int) -> float:
        """The baseline at `t`; NaN while too little is known."""
        old = self._values[self._old(t)[:, row], row]
        return float(np.median(old)) if len(old) >= self._min_samples else np.nan

    def may_be_beyond(self, t: float, limits: Floats, signs: Floats) -> Bools:
        """Rows whose baseline may be at most (`signs` 1) or at least (-1) the limit; no such row is missed.

        It is a cheap necessary condition, without sorting: at least half of the samples lie on that side of the limit.
        """
        old = self._old(t)
        count = np.count_nonzero(old, axis=0)
        old &= signs * self._values <= signs * limits + _ROUNDING * np.abs(limits)
        beyond: Bools = (count >= self._min_samples) & (2 * np.count_nonzero(old, axis=0) >= count)
        return beyond

    def freeze(self, t: float, row: int, since: float) -> None:
        """Stops learning at `t`, and forgets what was learnt at and after `since`."""
        self._frozen_at[row] = t
        self._at[self._at[:, row] >= since, row] = np.nan
        self._last[row] = np.nanmax(self._at[:, row], initial=-np.inf)

    def thaw(self, t: float, row: int) -> None:
        passed_s = t - self._frozen_at[row]
        for times in (self._at, self._last, self._oldest):
            times[..., row] += passed_s
        self._frozen_at[row] = np.nan

    def forget(self, row: int) -> None:
        self._at[:, row] = self._frozen_at[row] = np.nan
        self._last[row] = self._oldest[row] = -np.inf

    def _old(self, t: float) -> Bools:
        """Mask of the samples that make the baseline; shape (samples, rows)."""
        now = np.where(np.isnan(self._frozen_at), t, self._frozen_at)
        old: Bools = (self._at >= self._oldest) & (self._at <= now - self._lag_s)
        return old

    def _make_room(self) -> None:
        """Enlarges the arrays by half, with the present samples in order of time."""
        order = np.argsort(self._at, axis=0)
        room = np.full((len(self._at) // 2, self._at.shape[1]), np.nan)
        self._next[:] = len(self._at)
        self._at = np.concatenate([np.take_along_axis(self._at, order, axis=0), room])
        self._values = np.concatenate([np.take_along_axis(self._values, order, axis=0), room])
