"""Executors of an earlier version or configuration, or on another provider's resources: they drain.

None of them gets a new task (agents.py); when their last task has ended they are shut down, and
their own part of the slack comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from serenity.framework.jobs.job import Attempt
from serenity.framework.mesos.calls import Shutdown
from serenity.framework.placement.agents import Executor, Offer, providers_of


def shutdowns(
    offers: Iterable[Offer],
    executors: Mapping[str, Mapping[str, Executor]],
    alive: Callable[[], Iterable[Attempt]],
    template_digest: str,
) -> list[Shutdown]:
    """The calls that end old executors, of those that live on the offers' agents.

    Args:
        executors: what is known to have been launched, by agent id, then executor id.
        alive: every attempt that Mesos may hold a task for; looked at only where there is an old executor.
    """
    old = {
        (each.agent_id, each.id)
        for offer in offers
        for each in executors.get(offer.agent_id, {}).values()
        if each.id in offer.executor_ids and each.outlived(template_digest, providers_of([offer]))
    }
    if not old:
        return []
    busy = {(each.place.agent_id, each.place.executor_id) for each in alive() if each.place is not None}
    return [Shutdown(executor_id, agent_id) for agent_id, executor_id in sorted(old - busy)]
