"""Placement: offers and pending attempts in, launches out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serenity.framework.placement import Offer, Wanted, place
from serenity.framework.task_info import ExecutorTemplate
from serenity.wire.mesos.resources import Resources

TEMPLATE = ExecutorTemplate("F", "serenity executor", {}, cpus=0.1, mem_mb=128)
PROVIDER = {"provider_id": {"value": "p1"}, "reservations": [{"type": "STATIC", "role": "serenity"}]}


def slack(cpus, mem, **fields):
    fields = fields or PROVIDER
    return Resources.scalar("cpus", cpus, revocable={}, **fields) + Resources.scalar("mem", mem, revocable={}, **fields)


def regular(cpus, mem):
    return Resources.scalar("cpus", cpus) + Resources.scalar("mem", mem)


def offer(agent, resources, executors=(), number=1):
    return Offer(f"{agent}-O{number}", agent, f"host-{agent}", f"http://{agent}:5051", resources, frozenset(executors))


def wanted(job, instance=0, cpus=1.0, mem_mb=100.0, priority=0, since_s=0.0):
    return Wanted((job, instance), cpus, mem_mb, priority, since_s)


def placed(offers, wants, executors=None, avoid=(), running=None):
    return place(
        offers, wants, executors=executors or {}, template=TEMPLATE, avoid=frozenset(avoid), running=running or {}
    )


def keys(placement):
    return {each.key: launch.offers[0].agent_id for launch in placement.launches for each in launch.placed}


def test_only_slack_is_used_and_what_is_taken_stands_as_it_was_offered():
    result = placed([offer("a", slack(2, 1000) + regular(8, 8000))], [wanted("j")])
    (task,) = result.launches[0].placed
    for resource in [*task.resources.to_json(), *task.executor.info["resources"]]:
        assert resource["revocable"] == {} and resource["provider_id"] == {"value": "p1"}
        assert resource["reservations"] == PROVIDER["reservations"]


def test_without_slack_nothing_is_launched_however_much_is_regular():
    result = placed([offer("a", regular(64, 64000))], [wanted("j")])
    assert result.launches == () and len(result.unused) == 1


def test_memory_is_taken_from_production_only_where_an_agents_own_estimator_gives_none():
    of_a_module = Resources.scalar("cpus", 2, revocable={}) + regular(4, 4000)
    (task,) = placed([offer("a", of_a_module)], [wanted("j")]).launches[0].placed
    assert task.resources.regular.named("mem").mem_mb == 100 and not task.resources.regular.named("cpus")
    slack_without_memory = Resources.scalar("cpus", 2, revocable={}, **PROVIDER) + regular(4, 4000)
    assert placed([offer("a", slack_without_memory)], [wanted("j")]).launches == ()


def test_the_executor_is_paid_for_once():
    fits_two = slack(2.1, 328)
    assert len(keys(placed([offer("a", fits_two)], [wanted("j", i) for i in range(3)]))) == 2
    assert keys(placed([offer("a", slack(2.0, 328))], [wanted("j", cpus=2.0)])) == {}


def test_an_executor_that_lives_is_used_again_unchanged_and_not_paid_for():
    first = placed([offer("a", slack(4, 4000))], [wanted("j")]).launches[0].placed[0].executor
    lives = offer("a", slack(1.0, 100), executors=[first.id])
    (task,) = placed([lives], [wanted("j", 1)], executors={"a": [first]}).launches[0].placed
    assert task.executor is first
    died = offer("a", slack(1.0, 100))
    assert placed([died], [wanted("j", 1)], executors={"a": [first]}).launches == ()


def test_an_executor_of_another_configuration_is_not_used():
    old = ExecutorTemplate("F", "serenity executor --old", {}, 0.1, 128)
    of_old = place(
        [offer("a", slack(4, 4000))], [wanted("j")], executors={}, template=old, avoid=frozenset(), running={}
    )
    executor = of_old.launches[0].placed[0].executor
    again = offer("a", slack(4, 4000), executors=[executor.id])
    (task,) = placed([again], [wanted("j")], executors={"a": [executor]}).launches[0].placed
    assert task.executor.id != executor.id


def test_priority_goes_before_age_and_age_before_the_rest():
    one = [offer("a", slack(1.1, 1000))]
    low, old, new = wanted("low", since_s=0, priority=-1), wanted("old", since_s=1), wanted("new", since_s=2)
    assert list(keys(placed(one, [low, new, old]))) == [("old", 0)]
    high = wanted("high", since_s=9, priority=5)
    assert list(keys(placed(one, [low, new, old, high]))) == [("high", 0)]


def test_what_does_not_fit_holds_back_nothing_smaller():
    assert list(keys(placed([offer("a", slack(1.1, 1000))], [wanted("big", cpus=9), wanted("small")]))) == [
        ("small", 0)
    ]


def test_instances_of_one_job_are_spread():
    offers = [offer("a", slack(4, 4000)), offer("b", slack(4, 4000))]
    assert set(keys(placed(offers, [wanted("j", i) for i in range(2)])).values()) == {"a", "b"}
    assert set(keys(placed(offers, [wanted("j", 5)], running={("j", "a"): 1})).values()) == {"b"}


def test_an_agent_that_cools_down_for_a_job_is_left_to_others():
    offers = [offer("a", slack(4, 4000))]
    assert keys(placed(offers, [wanted("j"), wanted("k")], avoid=[("j", "a")])) == {("k", 0): "a"}


def test_offers_of_one_agent_are_used_together():
    offers = [offer("a", slack(0.7, 500), number=1), offer("a", slack(0.7, 500), number=2)]
    (launch,) = placed(offers, [wanted("j")]).launches
    assert len(launch.offers) == 2


amounts = st.integers(0, 80).map(lambda tenths: tenths / 10)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), amounts, st.integers(0, 2000)), max_size=6),
    st.lists(st.tuples(st.sampled_from("jkl"), amounts.filter(bool), st.integers(1, 800)), max_size=20),
)
def test_nothing_is_launched_twice_or_beyond_what_was_offered(offered, asked):
    offers = [offer(a, slack(cpus, mem) + regular(9, 9999), number=i) for i, (a, cpus, mem) in enumerate(offered)]
    wants = [wanted(job, i, cpus, mem) for i, (job, cpus, mem) in enumerate(asked)]
    result = placed(offers, wants)
    launched = [each.key for launch in result.launches for each in launch.placed]
    assert len(launched) == len(set(launched))
    used = {each.id for launch in result.launches for each in launch.offers} | {each.id for each in result.unused}
    assert used == {each.id for each in offers}
    for launch in result.launches:
        total = sum((each.resources for each in launch.offers), Resources())
        taken = sum((each.resources for each in launch.placed), Resources())
        executors = {each.executor.id: each.executor for each in launch.placed}
        assert len(executors) == 1
        (executor,) = executors.values()
        assert taken + Resources.from_json(executor.info["resources"]) in total.revocable


@pytest.mark.parametrize("change", [{"command": "x"}, {"environment": {"A": "b"}}, {"cpus": 0.2}, {"mem_mb": 64}])
def test_another_configuration_is_another_executor_id(change):
    fields = {"framework_id": "F", "command": "c", "environment": {}, "cpus": 0.1, "mem_mb": 128}
    one, other = ExecutorTemplate(**fields), ExecutorTemplate(**{**fields, **change})
    ids = {each.info(slack(each.cpus, each.mem_mb))["executor_id"]["value"] for each in (one, other)}
    assert len(ids) == 2
    assert one.digest != other.digest
