from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class SlidingMax:
    """The greatest value of the last `span_s` seconds, in constant time and bounded memory."""

    def __init__(self, span_s: float, steps: Iterable[tuple[float, float]] = ()) -> None:
        """`steps`: those of another SlidingMax, to carry on from."""
        self._span_s = span_s
        self._candidates: deque[tuple[float, float]] = deque(steps)  # Times rise, values fall.

    @property
    def steps(self) -> list[tuple[float, float]]:
        """Times and values that may yet be the greatest."""
        return list(self._candidates)

    def add(self, t: float, value: float) -> float:
        """Takes a value, and returns the maximum with it.  `t` must not fall."""
        while self._candidates and self._candidates[-1][1] <= value:
            self._candidates.pop()
        self._candidates.append((t, value))
        while self._candidates[0][0] < t - self._span_s:
            self._candidates.popleft()
        return self._candidates[0][1]
