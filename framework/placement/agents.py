"""Agents as placement sees them: their offers, the executor that lives there or would be started, what is left.

Amounts are whole thousandths, of a CPU and of a MiB, as Mesos counts.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from serenity.framework.jobs.job import Key
from serenity.framework.mesos.task_info import ExecutorTemplate
from serenity.wire.mesos.resources import Json, Kind, Resources
from serenity.wire.messages.constraints import Constraint
from serenity.wire.transport.endpoint import Endpoint

# Name and value; a name may be there several times.
Attributes = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Offer:
    id: str
    agent_id: str
    hostname: str
    agent_url: str
    resources: Resources
    executor_ids: frozenset[str] = frozenset()  # Of this framework, alive on the agent.
    attributes: Attributes = ()

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
            attributes=tuple(_attribute(each) for each in offer.get("attributes", [])),
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

    def outlived(self, template_digest: str, providers: frozenset[str]) -> bool:
        """Whether it gets nothing new, being of another version or configuration, or on a provider that is gone.

        `providers`: those whose resources the agent offers; an empty set says nothing.
        """
        of_its_own = {each["provider_id"]["value"] for each in self.info["resources"] if "provider_id" in each}
        elsewhere = bool(of_its_own and providers) and not of_its_own & providers
        return elsewhere or self.template_digest != template_digest


@dataclass(frozen=True, slots=True)
class Placed:
    """One instance with its part of an agent's offers; `executor` may be one that lives already."""

    key: Key
    resources: Resources
    executor: Executor


class Agent:
    """What is left of one agent's offers while placement goes on.

    `cpus` and `mem`: the most that one task can have; for want of room for an executor, nothing.
    """

    def __init__(self, offers: Sequence[Offer], executors: Sequence[Executor], template: ExecutorTemplate) -> None:
        self.id = offers[0].agent_id
        self.offers = tuple(offers)
        self.placed: list[Placed] = []
        self._template = template
        self._attributes = with_hostname(offers[0].attributes, offers[0].hostname)
        self._cpus, self._mem, memory_is_revocable = _usable(offers)
        alive = frozenset[str]().union(*(offer.executor_ids for offer in offers))
        # Mesos lets no task mix regular and revocable memory with its executor.
        self._executor = next(
            (
                each
                for each in executors
                if each.id in alive
                and not each.outlived(template.digest, providers_of(offers))
                and each.memory_is_revocable == memory_is_revocable
            ),
            None,
        )
        self._executor_part: dict[Kind, int] = {}
        if self._executor is None:
            cpus, mem = _largest(self._cpus), _largest(self._mem)
            needs_cpus, needs_mem = round(template.cpus * 1000), round(template.mem_mb * 1000)
            if cpus is None or mem is None or self._cpus[cpus] < needs_cpus or self._mem[mem] < needs_mem:
                self._cpus, self._mem = {}, {}
            else:
                self._cpus[cpus] -= needs_cpus
                self._mem[mem] -= needs_mem
                self._executor_part = {cpus: needs_cpus, mem: needs_mem}
        self._measure()

    @property
    def has_executor(self) -> bool:
        """Whether none need be started: one lives there, or is started for another task."""
        return self._executor is not None

    def satisfies(self, constraints: tuple[Constraint, ...]) -> bool:
        return satisfies(constraints, self._attributes)

    def take(self, key: Key, cpus: int, mem: int) -> None:
        """`cpus` and `mem` must be there: no more than the agent's own."""
        if self._executor is None:
            info = self._template.info(Resources(dict(self._executor_part)))
            self._executor = Executor(self.id, info["executor_id"]["value"], self._template.digest, info)
        # Resources of one kind only: a task may not mix regular and revocable of one name, and
        # resources of two providers in one task would tie it to the life of both.
        assert self._cpus_kind is not None and self._mem_kind is not None
        self._cpus[self._cpus_kind] -= cpus
        self._mem[self._mem_kind] -= mem
        resources = Resources({self._cpus_kind: cpus, self._mem_kind: mem})
        self.placed.append(Placed(key, resources, self._executor))
        self._measure()

    def _measure(self) -> None:
        if not self.placed or len(self._cpus) > 1 or len(self._mem) > 1:
            self._cpus_kind, self._mem_kind = _largest(self._cpus), _largest(self._mem)
        self.cpus = self._cpus[self._cpus_kind] if self._cpus_kind is not None else 0
        self.mem = self._mem[self._mem_kind] if self._mem_kind is not None else 0


def with_hostname(attributes: Attributes, hostname: str) -> Attributes:
    """Every agent has the attribute ``hostname``, unless its operator has given it another value."""
    known = any(name == "hostname" for name, _ in attributes)
    return attributes if known else (*attributes, ("hostname", hostname))


@functools.lru_cache(maxsize=65536)
def satisfies(constraints: tuple[Constraint, ...], attributes: Attributes) -> bool:
    return all(
        each.satisfied_by([value for name, value in attributes if name == each.attribute]) for each in constraints
    )


def _usable(offers: Sequence[Offer]) -> tuple[dict[Kind, int], dict[Kind, int], bool]:
    """Cpus and memory that best effort may have, by kind; and whether the memory is revocable."""
    cpus: dict[Kind, int] = {}
    memory: dict[bool, dict[Kind, int]] = {True: {}, False: {}}
    for offer in offers:
        for kind, value in offer.resources:
            if not isinstance(value, int):
                continue
            if kind.name == "cpus" and kind.revocable:
                cpus[kind] = cpus.get(kind, 0) + value
            elif kind.name == "mem":
                of_kind = memory[kind.revocable]
                of_kind[kind] = of_kind.get(kind, 0) + value
    is_revocable = bool(memory[True]) or any(kind.provider_id for kind in cpus)
    return cpus, memory[is_revocable], is_revocable


def providers_of(offers: Sequence[Offer]) -> frozenset[str]:
    """The resource providers whose resources are in these offers."""
    ids = (kind.provider_id for offer in offers for kind, _ in offer.resources)
    return frozenset(each for each in ids if each is not None)


def _largest(amounts: dict[Kind, int]) -> Kind | None:
    return max(amounts, key=amounts.__getitem__, default=None)


def _attribute(attribute: Json) -> tuple[str, str]:
    """Raises KeyError for what is no attribute.  Values as in the agent's flag: ``r7``, ``8``, ``[1-5]``, ``{a,b}``."""
    kind = attribute["type"]
    if kind == "TEXT":
        value = str(attribute["text"]["value"])
    elif kind == "SCALAR":
        value = f"{attribute['scalar']['value']:g}"
    elif kind == "RANGES":
        value = "[" + ", ".join(f"{each['begin']}-{each['end']}" for each in attribute["ranges"].get("range", [])) + "]"
    else:
        value = "{" + ", ".join(attribute["set"].get("item", [])) + "}"
    return str(attribute["name"]), value
