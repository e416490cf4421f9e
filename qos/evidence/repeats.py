"""Indicators that are told anew only now and then: many services compute theirs every ten seconds.

A value that is read again before that is no new measurement.  Taken for one it would make a signal without noise, of
which every update is a change beyond all doubt.
"""

from __future__ import annotations

import numpy as np

from serenity.qos.frame import Bools, Floats
from serenity.qos.rows import Places, moved

# Distances of changes that are compared: of a value that changes by chance so many are alike in 0.3 % (simulated).
_GAPS = 8
_LEAST = 3  # Samples apart: with fewer repeats the noise is known well enough.


class Repeats:
    """Whether the value of each row is told at regular times, some samples apart; arrays of shape (rows,).

    It is if the longest distance of its last changes is at most twice the shortest: an update may tell the same as the
    one before.  It may also be read a sample late, which makes the next distance a sample shorter.  What stands still
    by nature, or moves in coarse steps, changes at irregular times.
    """

    def __init__(self) -> None:
        self._last = np.zeros(0)
        self._since = np.zeros(0)  # Samples since the last change; NaN before the first.
        self._gaps = np.zeros((_GAPS, 0))  # A ring of each row, of which `_next` is replaced next.
        self._next = np.zeros(0)
        self._regular = np.zeros(0)  # 1 or 0.

    def move(self, places: Places) -> None:
        self._last, self._since = moved(self._last, places, np.nan), moved(self._since, places, np.nan)
        self._gaps, self._next = moved(self._gaps, places, np.nan), moved(self._next, places, 0.0)
        self._regular = moved(self._regular, places, 0.0)

    @property
    def regular(self) -> Bools:
        return self._regular > 0.0

    @property
    def now(self) -> Bools:
        """Where the newest value is a repeated one."""
        return (self._regular > 0.0) & (self._since > 0.0)

    def observe(self, value: Floats) -> Places:
        """Takes the newest values, NaN where there is none; returns the rows that turn out to be told regularly."""
        known = np.isfinite(value)
        self._since += 1.0
        changed = np.flatnonzero(known & (value != self._last))
        np.copyto(self._last, value, where=known)
        gap = self._since[changed]
        self._since[changed] = 0.0
        self._gaps[self._next[changed].astype(np.intp), changed] = gap
        self._next[changed] = (self._next[changed] + 1.0) % _GAPS
        was = self._regular[changed]
        self._regular[changed] = 0.0
        slow = changed[gap >= _LEAST]  # Few: most indicators change at every sample.
        least, most = self._gaps[:, slow].min(axis=0), self._gaps[:, slow].max(axis=0)
        self._regular[slow] = (least >= _LEAST) & (most <= 2.0 * (least + 1.0))  # Not where any is NaN.
        return changed[self._regular[changed] > was]


def repeated(values: Floats) -> Bools:
    """Which of the values, oldest first along the first axis, are as the ones before."""
    same = np.zeros(values.shape, dtype=np.bool_)
    np.equal(values[1:], values[:-1], out=same[1:])
    return same
