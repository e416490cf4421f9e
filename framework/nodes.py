"""The cluster's agents, as the master lists them, with what best-effort has on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from serenity.wire.mesos.resources import Json
from serenity.wire.messages import api


def nodes(agents: Sequence[Json], tasks_on: Mapping[str, int]) -> api.Nodes:
    """`agents`: the master's ``/slaves``; `tasks_on`: our tasks by agent id."""
    return api.Nodes(
        nodes=tuple(sorted((_node(each, tasks_on.get(each["id"], 0)) for each in agents), key=lambda n: n.hostname))
    )


def _node(agent: Json, tasks: int) -> api.Node:
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
    )


def _bytes(mib: float) -> int:
    return round(float(mib) * (1 << 20))
