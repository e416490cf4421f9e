"""How often somebody may ask: a bucket of requests that fills up steadily, for each caller."""

from __future__ import annotations

from collections import OrderedDict

from serenity.daemon.clock import Clock

# The caller that has not asked for longest is forgotten first, and then has a full bucket.
_CALLERS = 10_000


class RateLimit:
    """At most `burst` requests at once and `per_s` a second in the long run, of each caller.

    A token bucket: the level is kept as the time at which the bucket will be full again, one number a caller.
    """

    def __init__(self, per_s: float, burst: float, clock: Clock) -> None:
        self._pause_s = 1.0 / per_s
        self._capacity_s = burst / per_s
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, caller: str) -> float:
        """0 where a request was taken from the bucket; else nothing is taken, and there is one in so many seconds."""
        now_s = self._clock.monotonic_s()
        full_at = max(now_s, self._full_at.get(caller, now_s)) + self._pause_s
        too_early_s = full_at - now_s - self._capacity_s
        if too_early_s > 1e-9:
            return too_early_s
        self._full_at[caller] = full_at
        self._full_at.move_to_end(caller)
        if len(self._full_at) > _CALLERS:
            self._full_at.popitem(last=False)
        return 0.0
