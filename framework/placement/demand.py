"""Whether offers are wanted, and what Mesos has been told of it."""

from __future__ import annotations

from serenity.framework.mesos.calls import Call, Revive, Suppress

# A REVIVE may be lost with a master that fails over; without an offer it is sent again.
_REVIVE_AGAIN_S = 30.0


class Demand:
    def __init__(self, roles: tuple[str, ...] = ()) -> None:
        """`roles`: those whose offers are meant; empty: all."""
        self._roles = roles
        self._suppressed = False  # As far as Mesos has been told in this subscription.
        self._last_offer_or_revive_s: float | None = None

    def subscribed(self) -> None:
        """A new subscription starts with offers."""
        self._suppressed = False
        self._last_offer_or_revive_s = None

    def offers_came(self, now_s: float) -> None:
        self._last_offer_or_revive_s = now_s

    def call(self, wanted: bool, fresh: bool, now_s: float) -> Call | None:
        """What to tell Mesos now.

        `fresh`: since the current refusals were made work has become pending, or an agent usable again, so they must
        be undone.
        """
        if not wanted:
            if self._suppressed:
                return None
            self._suppressed = True
            return Suppress(self._roles)
        last_s = self._last_offer_or_revive_s
        silent = last_s is None or not 0 <= now_s - last_s < _REVIVE_AGAIN_S  # Below 0: the clock was set back.
        if self._suppressed or fresh or silent:
            self._suppressed = False
            self._last_offer_or_revive_s = now_s
            return Revive(self._roles)
        return None
