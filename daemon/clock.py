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
