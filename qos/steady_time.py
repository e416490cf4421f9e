"""A clock for stages: frames carry the time of day, which may be set back, and learning needs time that only passes."""

from __future__ import annotations

import math


class SteadyTime:
    """Time that never falls: when the clock is set back, it goes on from where it was."""

    def __init__(self, last_t: float = -math.inf) -> None:
        self.last_t = last_t
        self.ahead_s = 0.0  # By how much it is ahead of the clock.

    def of(self, t: float) -> float:
        self.ahead_s = max(self.ahead_s, self.last_t - t)
        self.last_t = max(self.last_t, t + self.ahead_s)  # The sum is rounded, and may fall short.
        return self.last_t
