"""Placement: which pending attempts go onto which offers.  A pure function.

Best effort runs on revocable cpus only, and on revocable memory wherever the slack comes
from a resource provider.  Estimator modules inside an agent offer revocable cpus alone;
there, and only there, memory is taken from the regular offer.

Order: priority, then age; an instance that fits nowhere does not hold back smaller ones
behind it.  Of the agents where it fits it gets the one that runs the fewest instances of
its job.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from serenity.framework.jobs import Key
from serenity.framework.task_info import ExecutorTemplate
from serenity.wire.mesos.resources import Json, Resources
from serenity.wire.transport.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Offer:
    id: str
    agent_id: str
    hostname: str
    agent_url: str
    resources: Resources
    executor_ids: frozenset[str] = frozenset()  # Of this framework, alive on the agent.

    @classmethod
    def from_json(cls, offer: Json) -> Offer:
        """Raises KeyError or ResourceError for what is no offer."""
        url = offer.get("url", {})
        address, tls = url.get("address", {}), url.get("scheme") == "https"
        # Certificates are for names; without TLS an address needs nobody to look it up.
        names = ("hostname", "ip") if tls else ("ip", "hostname")
        host = next(filter(None, map(address.get, names)), offer["hostname"])
        return cls(
            id=offer["id"]["value"],
            agent_id=offer["agent_id"]["value"],
            hostname=offer["hostname"],
            agent_url=Endpoint(host, address.get("port", 5051), tls=tls).url,
            resources=Resources.from_json(offer.get("resources", [])),
            executor_ids=frozenset(each["value"] for each in offer.get("executor_ids", [])),
        )


@dataclass(frozen=True, slots=True)
class Executor:
    """An executor that was launched once; its ExecutorInfo must never change while it lives."""

    agent_id: str
    id: str
    template_digest: str
    info: Json

    @property
    def memory_is_revocable(self) -> bool:
        return any(each["name"] == "mem" and "revocable" in each for each in self.info["resources"])


@dataclass(frozen=True, slots=True)
class Wanted:
    """A pending attempt that may run now, as placement sees it."""

    key: Key
    cpus: float
    mem_mb: float
    priority: int
    since_s: float

    @property
    def job_id(self) -> str:
        return self.key[0]


@dataclass(frozen=True, slots=True)
class Placed:
    """One attempt with its part of an agent's offers; `executor` may be one that lives already."""

    key: Key
    resources: Resources
    executor: Executor


@dataclass(frozen=True, slots=True)
class AgentLaunch:
    """All that is launched on one agent; consumes `offers` together."""

    offers: tuple[Offer, ...]
    placed: tuple[Placed, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    launches: tuple[AgentLaunch, ...]
    unused: tuple[Offer, ...]


def place(
    offers: Iterable[Offer],
    wanted: Iterable[Wanted],
    *,
    executors: Mapping[str, Sequence[Executor]],
    template: ExecutorTemplate,
    avoid: frozenset[tuple[str, str]],
    running: Mapping[tuple[str, str], int],
) -> Placement:
    """Matches `wanted` with `offers`.

    Args:
        executors: what is known to have been launched, by agent id.
        template: what a new executor is made from.
        avoid: (job id, agent id) pairs that are cooling down.
        running: how many instances of a job are on an agent, by (job id, agent id).
    """
    by_agent: dict[str, list[Offer]] = defaultdict(list)
    for offer in offers:
        by_agent[offer.agent_id].append(offer)
    agents = [_Agent(each, executors.get(agent_id, ()), template) for agent_id, each in by_agent.items()]
    nowhere: set[str] = set()
    for each in sorted(wanted, key=lambda w: (-w.priority, w.since_s, w.key)):
        if each.job_id in nowhere:
            continue
        if not _place_one(each, agents, avoid, running):
            nowhere.add(each.job_id)  # Its other instances ask for the same.
    return Placement(
        launches=tuple(AgentLaunch(tuple(a.offers), tuple(a.placed)) for a in agents if a.placed),
        unused=tuple(offer for a in agents if not a.placed for offer in a.offers),
    )


def _place_one(
    wanted: Wanted,
    agents: Sequence[_Agent],
    avoid: frozenset[tuple[str, str]],
    running: Mapping[tuple[str, str], int],
) -> bool:
    def crowd(agent: _Agent) -> int:
        return running.get((wanted.job_id, agent.id), 0) + agent.launched[wanted.job_id]

    allowed = (agent for agent in sorted(agents, key=crowd) if (wanted.job_id, agent.id) not in avoid)
    return any(agent.take(wanted) for agent in allowed)


class _Agent:
    """What is left of one agent's offers while placement goes on."""

    def __init__(self, offers: list[Offer], executors: Sequence[Executor], template: ExecutorTemplate) -> None:
        self.id = offers[0].agent_id
        self.offers = offers
        self.placed: list[Placed] = []
        self.launched: dict[str, int] = defaultdict(int)
        self._template = template
        everything = Resources()
        for offer in offers:
            everything += offer.resources
        cpus, memory = everything.revocable.named("cpus"), everything.revocable.named("mem")
        self._memory_is_revocable = bool(memory) or any(kind.provider_id for kind in cpus.kinds)
        self._left = cpus + (memory if self._memory_is_revocable else everything.regular.named("mem"))
        alive = frozenset[str]().union(*(offer.executor_ids for offer in offers))
        # Mesos lets no task mix regular and revocable memory with its executor.
        self._executor = next(
            (
                each
                for each in executors
                if each.id in alive
                and each.template_digest == template.digest
                and each.memory_is_revocable == self._memory_is_revocable
            ),
            None,
        )

    def take(self, wanted: Wanted) -> bool:
        """Takes what `wanted` needs, and an executor's part before the first one; False when it does not fit."""
        left, executor = self._left, self._executor
        if executor is None:
            part = _take(left, self._template.cpus, self._template.mem_mb)
            if part is None:
                return False
            left -= part
            info = self._template.info(part)
            executor = Executor(self.id, info["executor_id"]["value"], self._template.digest, info)
        resources = _take(left, wanted.cpus, wanted.mem_mb)
        if resources is None:
            return False
        self._left, self._executor = left - resources, executor
        self.placed.append(Placed(wanted.key, resources, executor))
        self.launched[wanted.job_id] += 1
        return True


def _take(left: Resources, cpus: float, mem_mb: float) -> Resources | None:
    cpus_part, mem_part = left.take("cpus", cpus), left.take("mem", mem_mb)
    return None if cpus_part is None or mem_part is None else cpus_part + mem_part
