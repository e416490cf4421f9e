"""For how long offers that are not used are refused.

A refusal holds for what was offered and less (Mesos' RefusedOfferFilter); as soon as an agent
has more, it is offered again, and a REVIVE undoes all refusals.  So an agent without any slack
may be refused for long, and is back the moment it has some.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from serenity.framework.mesos.calls import Decline
from serenity.framework.placement.agents import Offer

# What is left of an offer comes back soon while work waits for more, rarely otherwise.
WAITING_S = 5.0
IDLE_S = 300.0
# As it is, nothing best-effort could ever run on that agent.
NO_SLACK_S = 3600.0


def declines(unused: Iterable[Offer], *, waiting: bool) -> Iterator[Decline]:
    """One call for each length of time."""
    by_length: dict[float, list[str]] = {}
    for offer in unused:
        refuse_s = NO_SLACK_S if offer.resources.revocable.cpus <= 0 else WAITING_S if waiting else IDLE_S
        by_length.setdefault(refuse_s, []).append(offer.id)
    for refuse_s, offer_ids in by_length.items():
        yield Decline(tuple(offer_ids), refuse_s)
