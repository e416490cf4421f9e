"""The cluster's agents, as the master lists them, with what best-effort has on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from serenity.framework.placement.holds import Hold
from serenity.wire.mesos.resources import Json
from serenity.wire.messages import api


class UnknownNode(LookupError):  # noqa: N818 - reads as what it says
    """No agent has that id or hostname, or several have that hostname; the text says what to do."""


def nodes(
    agents: Sequence[Json],
    tasks_on: Mapping[str, int],
    holds: Mapping[str, Hold],
    estimators: Mapping[str, api.Estimator],
) -> tuple[api.Node, ...]:
    """`agents`: the master's ``/slaves``.  The others by agent id: how many tasks of ours, holds, and estimators."""
    found = (
        _node(each, tasks_on.get(each["id"], 0), holds.get(each["id"]), estimators.get(each["id"])) for each in agents
    )
    return tuple(sorted(found, key=lambda node: node.hostname))


def find(known: Sequence[api.Node], id_or_hostname: str) -> api.Node:
    """Raises UnknownNode."""
    found = [each for each in known if id_or_hostname in (each.id, each.hostname)]
    if not found:
        raise UnknownNode(f"the master knows no agent {id_or_hostname!r}; `serenity nodes` lists those that there are")
    if len(found) > 1:
        ids = ", ".join(each.id for each in found)
        raise UnknownNode(f"{len(found)} agents are on {id_or_hostname}; say which by its id: {ids}")
    return found[0]


def hold_view(hold: Hold) -> api.Hold:
    return api.Hold(reason=hold.reason, since=hold.since, until=hold.until)


def _node(agent: Json, tasks: int, hold: Hold | None, estimator: api.Estimator | None) -> api.Node:
    slack, held = agent.get("resources", {}), agent.get("used_resources", {})
    return api.Node(
        id=agent["id"],
        hostname=agent["hostname"],
        active=bool(agent.get("active", True)),
        slack_cpus=float(slack.get("cpus_revocable", 0.0)),
        slack_mem_bytes=_bytes(slack.get("mem_revocable", 0.0)),
        held_cpus=float(held.get("cpus_revocable", 0.0)),
        held_mem_bytes=_bytes(held.get("mem_revocable", 0.0)),
        tasks=tasks,
        hold=hold_view(hold) if hold is not None else None,
        estimator=estimator,
    )


def _bytes(mib: float) -> int:
    return round(float(mib) * (1 << 20))
