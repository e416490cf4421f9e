"""Offers: made by the allocator, withdrawn, expired, refused.  Parts of the master."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from serenity.localmesos.master.allocator import Candidate, Filter, Supply, allocate
from serenity.localmesos.master.state import Framework, Offer
from serenity.wire.mesos.resources import Json, Resources

if TYPE_CHECKING:
    from serenity.localmesos.master.master import Master

DEFAULT_REFUSE_S = 5.0  # Filters.refuse_seconds
MAX_REFUSE_S = 365 * 86400.0  # As in Mesos: an absurd value counts as this.


def offer_all(master: Master) -> None:
    """One allocation: whatever is free and wanted is offered."""
    now_s = master.clock()
    agents = list(master.agents.values())
    supplies = [
        Supply(each.agent_id, each.available(_held_on(master, each.agent_id))) for each in agents if each.connected
    ]
    cluster = Resources()
    for agent in agents:
        cluster += agent.total
    offered: dict[str, list[Json]] = {}
    for made in allocate(supplies, _candidates(master), cluster, now_s):
        offer_id = master.next_offer_id()
        offer = Offer(offer_id, made.framework_id, made.agent_id, made.role, made.resources, now_s)
        master.offers[offer_id] = offer
        offered.setdefault(made.framework_id, []).append(offer_json(master, offer))
    for framework_id, offers in offered.items():
        master.send(master.frameworks[framework_id], "OFFERS", {"offers": offers})


def _held_on(master: Master, agent_id: str) -> list[Resources]:
    """What tasks, executors and outstanding offers take of an agent."""
    used = [framework.used(agent_id) for framework in master.frameworks.values()]
    return used + [offer.resources for offer in master.offers.values() if offer.agent_id == agent_id]


def _candidates(master: Master) -> list[Candidate]:
    return [
        Candidate(
            framework_id,
            role,
            "REVOCABLE_RESOURCES" in framework.capabilities,
            framework.used(),
            tuple(framework.filters),
        )
        for framework_id, framework in master.frameworks.items()
        if framework.connected
        for role in framework.roles
        if role not in framework.suppressed
    ]


def withdraw(master: Master, affected: Callable[[Offer], bool]) -> None:
    """Takes offers back; a framework that is connected is told by RESCIND."""
    for offer in [offer for offer in master.offers.values() if affected(offer)]:
        del master.offers[offer.offer_id]
        master.send(master.frameworks[offer.framework_id], "RESCIND", {"offer_id": {"value": offer.offer_id}})


def expire(master: Master) -> None:
    """``--offer_timeout``: offers that are held for longer are taken back."""
    timeout_s = master.settings.offer_timeout_s
    if timeout_s is not None:
        latest_s = master.clock() - timeout_s
        withdraw(master, lambda offer: offer.made_s <= latest_s)


def decline(master: Master, framework: Framework, call: Json) -> None:
    for each in call.get("offer_ids", []):
        offer = master.offers.get(each["value"])
        if offer is not None and offer.framework_id == framework.framework_id:
            del master.offers[offer.offer_id]
            refuse(master, framework, offer, offer.resources, call.get("filters", {}))


def refuse(master: Master, framework: Framework, offer: Offer, unused: Resources, filters: Json) -> None:
    """Sets a filter, so that what a framework did not want is not offered to it again at once."""
    refuse_s = min(float(filters.get("refuse_seconds", DEFAULT_REFUSE_S)), MAX_REFUSE_S)
    if refuse_s <= 0 or not unused:
        return
    until_s = master.clock() + max(refuse_s, master.settings.allocation_interval_s)
    framework.filters.append(Filter(offer.agent_id, offer.role, unused.without_field("allocation_info"), until_s))


def offer_json(master: Master, offer: Offer) -> Json:
    agent = master.agents[offer.agent_id]
    hostname, port = agent.info["hostname"], agent.info["port"]
    executor_ids = master.frameworks[offer.framework_id].executors_on(offer.agent_id)
    return {
        "id": {"value": offer.offer_id},
        "framework_id": {"value": offer.framework_id},
        "agent_id": {"value": offer.agent_id},
        "hostname": hostname,
        "url": {
            "scheme": "http",
            "address": {"hostname": hostname, "ip": master.info["address"]["ip"], "port": port},
            "path": "/slave(1)",
        },
        "resources": offer.resources.to_json(),
        **({"executor_ids": [{"value": each} for each in executor_ids]} if executor_ids else {}),
        "allocation_info": {"role": offer.role},
    }
