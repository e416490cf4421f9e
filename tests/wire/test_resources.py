from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serenity.wire.mesos.resources import ResourceError, Resources

KINDS: list[dict[str, Any]] = [
    {},
    {"revocable": {}},
    {"revocable": {}, "provider_id": {"value": "p1"}},
    {"revocable": {}, "provider_id": {"value": "p1"}, "reservations": [{"type": "DYNAMIC", "role": "be"}]},
    {"revocable": {}, "provider_id": {"value": "p2"}, "allocation_info": {"role": "be"}},
]
scalars = st.builds(
    lambda name, kind, milli: Resources.scalar(name, milli / 1000, **kind),
    st.sampled_from(["cpus", "mem", "disk"]),
    st.sampled_from(KINDS),
    st.integers(0, 10**9),
)
bags = st.lists(scalars, max_size=8).map(lambda parts: sum(parts, Resources()))


def ports(*ranges: tuple[int, int]) -> Resources:
    listed = [{"begin": begin, "end": end} for begin, end in ranges]
    return Resources.from_json([{"name": "ports", "type": "RANGES", "ranges": {"range": listed}}])


@given(bags, bags)
def test_what_was_added_can_be_taken_away_exactly(a: Resources, b: Resources) -> None:
    assert (a + b) - b == a
    assert a + b == b + a
    assert a in a + b


@given(bags, bags)
def test_what_is_contained_can_be_taken_away_and_nothing_else(a: Resources, b: Resources) -> None:
    if b in a:
        assert (a - b) + b == a
    else:
        with pytest.raises(ResourceError):
            a - b


@given(bags)
def test_json_and_back(a: Resources) -> None:
    assert Resources.from_json(json.loads(json.dumps(a.to_json()))) == a
    assert a.revocable + a.regular == a


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)))
def test_ranges_are_sets_of_numbers(left: set[int], right: set[int]) -> None:
    a, b = ports(*((n, n) for n in left)), ports(*((n, n) for n in right))
    assert a + b == ports(*((n, n) for n in left | right))
    assert (b in a) == (right <= left)
    if right <= left:
        assert a - b == ports(*((n, n) for n in left - right))


def resources_in(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "name" in value and value.get("type") in ("SCALAR", "RANGES", "SET"):
            yield value
        for each in value.values():
            yield from resources_in(each)
    elif isinstance(value, list):
        for each in value:
            yield from resources_in(each)


def test_every_resource_that_mesos_was_seen_to_send_comes_back_as_it_was(shape: Callable[[str], Any]) -> None:
    names = ["scheduler_events.json", "executor.json", "provider_events.json", "master_slaves.json", "agent_state.json"]
    seen = [resource for name in names for resource in resources_in(shape(name))]
    assert len(seen) > 30
    for resource in seen:
        without_default = {key: value for key, value in resource.items() if (key, value) != ("role", "*")}
        assert Resources.from_json([resource]).to_json() == [without_default]


def test_regular_and_revocable_of_an_offer_are_never_added_up(shape: Callable[[str], Any]) -> None:
    offer = next(e for e in shape("scheduler_events.json") if e["type"] == "OFFERS")["offers"]["offers"][0]
    total = Resources.from_json(offer["resources"])
    assert (total.regular.cpus, total.revocable.cpus) == (2.0, 3.0)
    assert total.revocable.mem_bytes == 1024 << 20
    provider = next(kind.provider_id for kind in total.revocable.kinds)
    assert total.of_provider(provider) == total.revocable
    task = total.revocable.take("cpus", 0.5)
    assert task is not None and task.to_json()[0]["allocation_info"] == {"role": "*"}
    assert task in total and (total - task).revocable.cpus == 2.5


def test_a_default_that_is_spelt_out_is_the_same_kind() -> None:
    plain = Resources.scalar("cpus", 1)
    assert Resources.scalar("cpus", 1, role="*") == plain
    assert Resources.scalar("cpus", 1, reservations=[]) == plain
    assert Resources.scalar("cpus", 1, revocable={}) != plain


def test_one_take_comes_of_one_kind() -> None:
    offer = Resources.scalar("cpus", 2) + Resources.scalar("cpus", 3, revocable={})
    assert offer.take("cpus", 3) == Resources.scalar("cpus", 3, revocable={})
    assert offer.take("cpus", 4) is None
    assert offer.take("gpus", 1) is None


@pytest.mark.parametrize("amount", [-1, -0.0001, math.nan, math.inf])
def test_an_absurd_amount_is_not_taken(amount: float) -> None:
    with pytest.raises(ResourceError):
        Resources.scalar("cpus", 2).take("cpus", amount)


@pytest.mark.parametrize(
    "resource",
    [
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": -1}},
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": math.nan}},
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": math.inf}},
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": "many"}},
        {"name": "cpus", "type": "SCALAR"},
        {"name": "", "type": "SCALAR", "scalar": {"value": 1}},
        {"type": "SCALAR", "scalar": {"value": 1}},
        {"name": "cpus", "type": "TEXT", "text": {"value": "x"}},
        {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 5, "end": 4}]}},
        {"name": "ports", "type": "RANGES", "ranges": []},
        None,
        "cpus",
    ],
)
def test_what_is_no_resource_is_a_resource_error(resource: Any) -> None:
    with pytest.raises(ResourceError):
        Resources.from_json([resource])


def test_what_people_read() -> None:
    provider = {"provider_id": {"value": "b31e748a-9198"}, "revocable": {}, "reservations": [{"role": "be"}]}
    bag = Resources.scalar("cpus", 1.5, **provider) + ports((31000, 31002)) + Resources()
    assert repr(bag) == "cpus(be,revocable,provider b31e748a):1.5; ports:[31000-31002]"
    assert repr(Resources()) == "{}"
    assert not Resources.scalar("cpus", 0)
