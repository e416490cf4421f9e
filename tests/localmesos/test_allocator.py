"""One pass of the allocator: a pure function, tested as one."""

from __future__ import annotations

import pytest

from serenity.localmesos.master.allocator import Candidate, Filter, Supply, allocate, remaining, share
from serenity.wire.mesos.resources import Resources

NOTHING = Resources()
SLACK = {"provider_id": {"value": "p"}, "revocable": {}}
FOR_BE = {**SLACK, "reservations": [{"type": "STATIC", "role": "be"}]}


def cpus(amount, **fields):
    return Resources.scalar("cpus", amount, **fields)


def mem(amount, **fields):
    return Resources.scalar("mem", amount, **fields)


def candidate(framework_id="f", role="*", revocable=True, held=NOTHING, filters=()):
    return Candidate(framework_id, role, revocable, held, tuple(filters))


def offered(available, *candidates, now_s=0.0, cluster=None):
    """What each framework and role gets, without allocation_info."""
    allocations = allocate([Supply("a", available)], candidates, cluster or available, now_s)
    assert all(
        kind.json["allocation_info"] == {"role": each.role} for each in allocations for kind in each.resources.kinds
    )
    return {(each.framework_id, each.role): each.resources.without_field("allocation_info") for each in allocations}


def test_one_framework_is_offered_everything():
    available = cpus(2) + mem(1024) + cpus(1, **SLACK)
    assert offered(available, candidate()) == {("f", "*"): available}


def test_revocable_goes_only_to_those_who_take_it():
    modest = candidate("modest", revocable=False)
    assert offered(cpus(2) + cpus(1, **SLACK), modest) == {("modest", "*"): cpus(2)}
    assert offered(cpus(1, **SLACK), modest) == {}


def test_reserved_goes_only_to_its_role():
    available = cpus(2) + cpus(1, **FOR_BE)
    assert offered(available, candidate("web")) == {("web", "*"): cpus(2)}
    assert offered(available, candidate("be", role="be")) == {("be", "be"): available}


def test_two_roles_share_an_agent():
    available = cpus(2) + cpus(1, **FOR_BE)
    web, best_effort = candidate("web"), candidate("be", role="be", held=cpus(1))
    assert offered(available, web, best_effort) == {("web", "*"): cpus(2), ("be", "be"): cpus(1, **FOR_BE)}


def test_who_holds_less_comes_first():
    rich, poor = candidate("rich", held=cpus(1.5)), candidate("poor", held=cpus(0.5))
    assert offered(cpus(2), rich, poor, cluster=cpus(4)) == {("poor", "*"): cpus(2)}


def test_the_dominant_share_decides():
    cluster = cpus(10) + mem(1000)
    assert share(cpus(1) + mem(500), cluster) == 0.5
    assert share(cpus(2) + mem(10), cluster) == 0.2
    assert share(cpus(1), NOTHING) == 0.0


def test_an_offer_counts_for_the_next_agent():
    first, second = candidate("first"), candidate("second")
    supplies = [Supply("a", cpus(2)), Supply("b", cpus(2))]
    given = allocate(supplies, [first, second], cpus(4), 0.0)
    assert [(each.framework_id, each.agent_id) for each in given] == [("first", "a"), ("second", "b")]


@pytest.mark.parametrize(
    "available, comes",
    [
        (cpus(2), False),
        (cpus(1), False),  # Less than what was refused: still refused.
        (cpus(2.001), True),  # More: worth another look.
        (cpus(2) + cpus(0.1, **SLACK), True),
    ],
)
def test_a_filter_refuses_what_is_within_it(available, comes):
    refusing = candidate(filters=[Filter("a", "*", cpus(2), until_s=10.0)])
    assert bool(offered(available, refusing, now_s=9.0)) is comes
    assert offered(available, refusing, now_s=10.0) == {("f", "*"): available}


def test_a_filter_is_of_one_agent_and_one_role():
    for refusing in (Filter("b", "*", cpus(2), 10.0), Filter("a", "other", cpus(2), 10.0)):
        assert offered(cpus(2), candidate(filters=[refusing]))


def test_what_one_refuses_the_next_gets():
    refusing = candidate("refusing", filters=[Filter("a", "*", cpus(2), 10.0)])
    assert offered(cpus(2), refusing, candidate("next", held=cpus(1))) == {("next", "*"): cpus(2)}


def test_crumbs_are_not_offered():
    assert offered(cpus(0.009) + mem(31), candidate()) == {}
    assert offered(cpus(0.01), candidate())
    assert offered(mem(32), candidate())


def test_remaining_is_never_negative():
    ports = Resources.from_json([{"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 9}]}}])
    used = Resources.from_json([{"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 2, "end": 3}]}}])
    assert remaining(cpus(2) + ports, cpus(0.5) + used) == cpus(1.5) + (ports - used)
    assert remaining(cpus(1, **SLACK), cpus(3, **SLACK)) == NOTHING
    assert remaining(cpus(1), cpus(1, **SLACK)) == cpus(1)
