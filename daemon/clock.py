"""Time as an argument: decisions never read the system's clock, so replay and tests are exact."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def now_s(self) -> float:
        """Seconds since the epoch: for records and people.  It may jump."""

    def monotonic_s(self) -> float:
        """For intervals and deadlines.  It never goes back."""


class SystemClock:
    def now_s(self) -> float:
        return time.time()

    def monotonic_s(self) -> float:
        return time.monotonic()


class ManualClock:
    """A clock that stands still until it is told to go on: for tests and replay."""

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
