"""The valve: closed as long as somebody holds a lease on it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from serenity.daemon.clock import Clock

# A holder that needs longer prolongs its lease; one that died must not keep the node's slack for days.
MAX_TTL_S = 24 * 3600.0
_SHORT_S = 30.0


class LeaseError(ValueError):
    """A lease that makes no sense; the text says why."""


@dataclass(frozen=True, slots=True)
class ActiveLease:
    holder: str
    reason: str
    until_s: float  # Monotonic.
    ttl_s: float  # The time to live, as last requested.

    @property
    def is_short(self) -> bool:
        """Short as an executor's lease, which is prolonged every second: not each time is a change to report."""
        return self.ttl_s < _SHORT_S


class Valve:
    """Leases by holder.  Each ends when it is released or has run out; nothing else opens the valve."""

    def __init__(self, clock: Clock, leases: Iterable[ActiveLease] = ()) -> None:
        self._clock = clock
        self._leases = {each.holder: each for each in leases}

    @property
    def leases(self) -> tuple[ActiveLease, ...]:
        return tuple(self._leases.values())

    @property
    def closed(self) -> bool:
        return bool(self._leases)

    def hold(self, holder: str, reason: str, ttl_s: float) -> ActiveLease | None:
        """Takes a lease, or prolongs the holder's; returns the lease as it was before, None if there was none.

        Raises:
            LeaseError
        """
        if not holder:
            raise LeaseError("a lease needs a holder")
        if not (math.isfinite(ttl_s) and 0 < ttl_s <= MAX_TTL_S):
            raise LeaseError(f"a lease of {ttl_s} s; it must last for more than 0 and at most {MAX_TTL_S:.0f} s")
        before = self._leases.get(holder)
        self._leases[holder] = ActiveLease(holder, reason, self._clock.monotonic_s() + ttl_s, ttl_s)
        return before

    def release(self, holder: str) -> bool:
        """Returns whether the holder had a lease."""
        return self._leases.pop(holder, None) is not None

    def expire(self) -> tuple[ActiveLease, ...]:
        """Ends the leases that have run out, and returns them."""
        now_s = self._clock.monotonic_s()
        ended = tuple(each for each in self._leases.values() if each.until_s <= now_s)
        for each in ended:
            del self._leases[each.holder]
        return ended
