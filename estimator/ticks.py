from __future__ import annotations

from serenity.daemon.clock import Clock


class Ticks:
    """The times of the samples: start + n * interval on the monotonic clock, so that they do not drift.

    A missed tick is left out and counted, never caught up: two samples in quick succession measure nothing.
    `now_s` is the time since the epoch, but never jumps: it is read once, and carried on by the monotonic clock.
    """

    def __init__(self, clock: Clock, interval_s: float) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._start_s = clock.monotonic_s()
        self._epoch_s = clock.now_s() - self._start_s
        self._last = 0
        self.missed = 0

    def wait_s(self) -> float:
        """Seconds until the next tick.  Each call takes one tick."""
        elapsed_s = self._clock.monotonic_s() - self._start_s
        due = int(elapsed_s / self._interval_s)
        if due > self._last + 1:
            self.missed += due - self._last - 1
            self._last = due - 1
        self._last += 1
        return max(0.0, self._last * self._interval_s - elapsed_s)

    def now_s(self) -> float:
        return self._epoch_s + self._clock.monotonic_s()
