from __future__ import annotations

import math
import statistics
from collections import deque

_MEDIAN_OF = 15


class Sampling:
    """The interval between a pipeline's frames: the median of the latest ones, which a gap or two do not move."""

    def __init__(self) -> None:
        self._t = math.nan
        self._intervals: deque[float] = deque(maxlen=_MEDIAN_OF)

    def observe(self, t: float) -> None:
        if t > self._t:
            self._intervals.append(t - self._t)
        self._t = t

    @property
    def interval_s(self) -> float:
        """1.0 until there are two frames."""
        return statistics.median(self._intervals) if self._intervals else 1.0
