"""A clock for tests."""

from __future__ import annotations


class ManualClock:
    """Stands still until it is told to go on."""

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s
        self._monotonic_s = 0.0

    def now_s(self) -> float:
        return self._now_s

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def advance(self, by_s: float) -> None:
        self._now_s += by_s
        self._monotonic_s += by_s

    def jump(self, by_s: float) -> None:
        """Moves the wall clock alone, as an operator or NTP does."""
        self._now_s += by_s
