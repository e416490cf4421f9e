"""Which framework is offered what: one pass of the allocator, as a pure function.

The coarse-grained scheme of Mesos' hierarchical allocator: on each agent, everything that a
role may have goes to the framework that holds the smallest share so far, unless a filter of
its own refuses it.  Shares are dominant shares (DRF), of the cluster.  Sources:
``src/master/allocator/mesos/hierarchical.cpp``; Ghodsi et al., NSDI 2011.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from serenity.wire.mesos.resources import Kind, Resources

# Less than this is not offered (--min_allocatable_resources=cpus:0.01|mem:32).
MIN_CPUS = 0.01
MIN_MEM_MB = 32.0


@dataclass(frozen=True, slots=True)
class Filter:
    """Set by DECLINE, and by an ACCEPT for what it leaves over: the same is not offered again until `until_s`."""

    agent_id: str
    role: str
    refused: Resources
    until_s: float

    def refuses(self, agent_id: str, role: str, resources: Resources, now_s: float) -> bool:
        """An offer that holds anything beyond what was refused passes."""
        return (
            now_s < self.until_s
            and (agent_id, role) == (self.agent_id, self.role)
            and resources.without_field("allocation_info") in self.refused
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A framework in one of the roles in which it wants offers."""

    framework_id: str
    role: str
    revocable: bool  # REVOCABLE_RESOURCES
    held: Resources  # By the framework's tasks and executors, on all agents.
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Supply:
    """An agent's resources that nobody holds and nobody is offered, without allocation_info."""

    agent_id: str
    available: Resources


@dataclass(frozen=True, slots=True)
class Allocation:
    framework_id: str
    role: str
    agent_id: str
    resources: Resources  # With allocation_info.


def allocate(
    supplies: Iterable[Supply], candidates: Sequence[Candidate], cluster: Resources, now_s: float
) -> list[Allocation]:
    """One pass over all agents.  `cluster` is the sum of all agents' totals, for the shares."""
    allocations = []
    held = {(each.framework_id, each.role): each.held for each in candidates}
    for supply in supplies:
        available = supply.available
        by_share = sorted(candidates, key=lambda each: (share(held[each.framework_id, each.role], cluster), each.role))
        for candidate in by_share:
            wanted = offerable(available, candidate)
            if not _worth_offering(wanted):
                continue
            if any(each.refuses(supply.agent_id, candidate.role, wanted, now_s) for each in candidate.filters):
                continue
            available -= wanted
            allocated = allocated_to(wanted, candidate.role)
            held[candidate.framework_id, candidate.role] += allocated
            allocations.append(Allocation(candidate.framework_id, candidate.role, supply.agent_id, allocated))
    return allocations


def offerable(available: Resources, candidate: Candidate) -> Resources:
    """What the candidate may have: unreserved or reserved to its role; revocable resources only if asked for."""
    return Resources(
        {
            kind: value
            for kind, value in available
            if kind.role in ("*", candidate.role) and (candidate.revocable or not kind.revocable)
        }
    )


def allocated_to(resources: Resources, role: str) -> Resources:
    """`resources` with `allocation_info` of that role, where there is none yet."""
    return Resources({Kind.of({"allocation_info": {"role": role}, **kind.json}): value for kind, value in resources})


def remaining(total: Resources, held: Resources) -> Resources:
    """`total` without `held`, and never below zero.

    A provider may lower its total below what tasks hold: the tasks go on, and nothing is offered.
    """
    left = dict(total)
    for kind, value in held:
        whole = left.get(kind)
        if isinstance(whole, int) and isinstance(value, int):
            left[kind] = max(0, whole - value)
        elif whole is not None:
            part = Resources({kind: value})
            rest = Resources({kind: whole})
            left[kind] = dict(rest - part).get(kind, ()) if part in rest else ()
    return Resources(left)


def share(held: Resources, cluster: Resources) -> float:
    """The dominant share: the largest of the shares in cpus and in memory."""
    return max(
        (held.amount(name) / cluster.amount(name) for name in ("cpus", "mem") if cluster.amount(name)), default=0
    )


def _worth_offering(resources: Resources) -> bool:
    return resources.cpus >= MIN_CPUS or resources.mem_mb >= MIN_MEM_MB
