"""Frames carry the time of day, and what learns from them wants time that passes."""

from __future__ import annotations

import math


class SteadyTime:
    """Time that never falls: where the clock was set back it goes on from where it was."""

    def __init__(self, last_t: float = -math.inf) -> None:
        self.last_t = last_t
        self.ahead_s = 0.0  # Of the clock.

    def of(self, t: float) -> float:
        self.ahead_s = max(self.ahead_s, self.last_t - t)
        self.last_t = max(self.last_t, t + self.ahead_s)  # Sums are rounded.
        return self.last_t
