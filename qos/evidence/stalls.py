"""How often a container has short stalls of its own, learnt as it goes.

A log is flushed, all threads wake at once, garbage is collected, the host takes a CPU away: the
signals look as under interference, except that a stall is short, and that no other task began anything.
"""

from __future__ import annotations

import numpy as np

from serenity.qos.evidence.noise import KNOWN_AFTER
from serenity.qos.frame import Bools, Floats
from serenity.qos.rows import Places, Ring, moved

_MEMORY_S = 3600.0  # A service that flushes once a minute does so all day; a release changes that within hours.
_BEFOREHAND = 1.0  # Stalls an hour, with the weight of one hour: as likely as interference before anything is known.


class Stalls:
    """Counts the stalls in `width` signals a row; arrays of shape (width, rows).

    A jump beyond any noise is counted once KNOWN_AFTER samples have passed, if no contention is known by then.
    """

    def __init__(self, width: int) -> None:
        self._newest = Ring(KNOWN_AFTER + 1, width, 0.0)
        self._count = np.zeros((width, 0))
        self._hours = np.zeros(0)  # The time counted.  It, and the counts, are forgotten over `_MEMORY_S`.

    def move(self, places: Places) -> None:
        self._newest.move(places)
        self._count, self._hours = moved(self._count, places, 0.0), moved(self._hours, places, 0.0)

    def observe(self, begins: Bools, dt_s: float, held: Bools) -> None:
        """`begins`: where the newest sample is the first beyond noise.  Rows in a contention (`held`) do not count."""
        self._newest.push(0.0, begins.astype(np.float64))
        kept = np.exp(-dt_s / _MEMORY_S)
        self._count *= kept
        self._hours *= kept
        self._hours += np.where(held, 0.0, dt_s / 3600.0)
        if len(self._newest) == self._newest.span:
            self._count += np.where(held, 0.0, self._newest.window(self._newest.span)[0])

    @property
    def per_hour(self) -> Floats:
        """Stalls an hour in each signal: their odds to interference, which is taken to begin once an hour."""
        rate: Floats = (self._count + _BEFOREHAND) / (self._hours + 1.0)
        return rate
