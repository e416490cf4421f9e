"""Placement: offers and those who wait in, launches out."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serenity.framework.jobs.job import Job
from serenity.framework.mesos.task_info import ExecutorTemplate
from serenity.framework.placement.agents import Offer
from serenity.framework.placement.lines import Lines
from serenity.framework.placement.place import Held, Remembered, place
from serenity.wire.mesos.resources import Resources
from serenity.wire.messages.api import JobRequest
from serenity.wire.messages.constraints import Constraint

TEMPLATE = ExecutorTemplate("F", "serenity executor", {}, cpus=0.1, mem_mb=128)
PROVIDER = {"provider_id": {"value": "p1"}, "reservations": [{"type": "STATIC", "role": "serenity"}]}
MIB = 1 << 20


def slack(cpus, mem, **fields):
    fields = fields or PROVIDER
    return Resources.scalar("cpus", cpus, revocable={}, **fields) + Resources.scalar("mem", mem, revocable={}, **fields)


def regular(cpus, mem):
    return Resources.scalar("cpus", cpus) + Resources.scalar("mem", mem)


def offer(agent, resources, executors=(), number=1, **attributes):
    return Offer(
        f"{agent}-O{number}",
        agent,
        f"host-{agent}",
        f"http://{agent}:5051",
        resources,
        frozenset(executors),
        tuple(attributes.items()),
    )


def wanted(job, instance=0, cpus=1.0, mem_mb=100.0, priority=0, user=None, where=()):
    request = JobRequest(
        command=("true",),
        cpus=cpus,
        mem_bytes=int(mem_mb * MIB),
        priority=priority,
        user=user,
        constraints=tuple(map(Constraint.parse, where)),
    )
    return Job(job, job, request, submitted_at=0.0), instance


def placed(offers, wants, executors=None, avoid=(), running=None, most=None, held=None, template=TEMPLATE):
    lines = Lines()
    for each in wants:
        lines.add(*each)
    avoided = {}
    for job, agent in avoid:
        avoided.setdefault(job, set()).add(agent)
    remembered = Remembered(avoided, running or {}, most or {}, held or {})
    return place(offers, lines, executors=executors or {}, template=template, remembered=remembered)


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
    of_old = placed([offer("a", slack(4, 4000))], [wanted("j")], template=old)
    executor = of_old.launches[0].placed[0].executor
    again = offer("a", slack(4, 4000), executors=[executor.id])
    (task,) = placed([again], [wanted("j")], executors={"a": [executor]}).launches[0].placed
    assert task.executor.id != executor.id


def test_priority_goes_before_age_and_age_before_the_rest():
    one = [offer("a", slack(1.1, 1000))]
    low, old, new = wanted("0low", priority=-1), wanted("1old"), wanted("2new")
    assert list(keys(placed(one, [low, new, old]))) == [("1old", 0)]
    high = wanted("9high", priority=5)
    assert list(keys(placed(one, [low, new, old, high]))) == [("9high", 0)]


def test_what_does_not_fit_holds_back_nothing_smaller():
    assert list(keys(placed([offer("a", slack(1.1, 1000))], [wanted("big", cpus=9), wanted("small")]))) == [
        ("small", 0)
    ]


def test_instances_of_one_job_are_spread():
    offers = [offer("a", slack(4, 4000)), offer("b", slack(4, 4000))]
    assert set(keys(placed(offers, [wanted("j", i) for i in range(2)])).values()) == {"a", "b"}
    assert set(keys(placed(offers, [wanted("j", 5)], running={"j": {"a": 1}})).values()) == {"b"}


def test_an_agent_that_cools_down_for_a_job_is_left_to_others():
    offers = [offer("a", slack(4, 4000))]
    assert keys(placed(offers, [wanted("j"), wanted("k")], avoid=[("j", "a")])) == {("k", 0): "a"}


def test_offers_of_one_agent_are_used_together():
    offers = [offer("a", slack(0.7, 500), number=1), offer("a", slack(0.7, 500), number=2)]
    (launch,) = placed(offers, [wanted("j")]).launches
    assert len(launch.offers) == 2


def test_of_two_agents_the_fuller_one_is_filled_up_and_the_larger_hole_stays_whole():
    offers = [offer("wide", slack(8, 8000)), offer("narrow", slack(1.3, 500))]
    assert keys(placed(offers, [wanted("j")])) == {("j", 0): "narrow"}
    wants = [wanted("1small", cpus=1.0), wanted("2large", cpus=7.9)]
    assert set(keys(placed(offers, wants))) == {("1small", 0), ("2large", 0)}


def test_an_agent_with_an_executor_is_taken_before_one_that_would_need_one():
    first = placed([offer("b", slack(4, 4000))], [wanted("j")]).launches[0].placed[0].executor
    offers = [offer("a", slack(1.1, 228)), offer("b", slack(1.0, 100), executors=[first.id])]
    assert keys(placed(offers, [wanted("j")], executors={"b": [first]})) == {("j", 0): "b"}


def test_users_get_the_same_dominant_share_whatever_they_ask_for_and_however_often():
    """Ghodsi's example: 9 CPUs and 18 GB; one asks for 1 CPU and 4 GB a task, the other for 3 CPUs and 1 GB."""
    big = [offer("a", slack(9.1, 18 * 1024 + 128))]
    memory = [wanted(f"1m{i}", cpus=1, mem_mb=4096, user="memory") for i in range(9)]
    cpus = [wanted(f"0c{i}", cpus=3, mem_mb=1024, user="cpus") for i in range(9)]
    launched = [job[1] for job, _ in keys(placed(big, cpus + memory))]
    assert (launched.count("m"), launched.count("c")) == (3, 2)


def test_who_holds_more_comes_later_and_takes_what_nobody_else_wants():
    offers = [offer("a", slack(3.1, 4000))]
    rich, poor = [wanted("1r", i, user="rich") for i in range(9)], [wanted("2p", i, user="poor") for i in range(2)]
    held = {"rich": Held(2000, 200_000)}
    assert list(keys(placed(offers, rich + poor, held=held))) == [("2p", 0), ("2p", 1), ("1r", 0)]


def test_priority_goes_before_a_fair_share():
    offers = [offer("a", slack(1.1, 4000))]
    wants = [wanted("1r", user="rich", priority=1), wanted("2p", user="poor")]
    assert list(keys(placed(offers, wants, held={"rich": Held(2000, 0)}))) == [("1r", 0)]


def test_only_agents_that_satisfy_the_constraints_are_used():
    offers = [offer("a", slack(9, 9000), rack="r1"), offer("b", slack(9, 9000), rack="r2"), offer("c", slack(9, 9000))]
    assert keys(placed(offers, [wanted("j", where=["rack == r2"])])) == {("j", 0): "b"}
    assert set(keys(placed(offers, [wanted("j", i, where=["rack != r2"]) for i in range(4)])).values()) == {"a", "c"}
    assert keys(placed(offers, [wanted("j", where=["hostname ~ host-[cd]"])])) == {("j", 0): "c"}
    assert keys(placed(offers, [wanted("j", where=["rack in r1,r2", "hostname == host-c"]), wanted("k")])) != {}


def test_of_a_job_that_flaps_no_more_is_launched_than_allowed():
    offers = [offer("a", slack(9, 9000))]
    wants = [wanted("j", i) for i in range(4)] + [wanted("k", i) for i in range(2)]
    assert list(keys(placed(offers, wants, most={"j": 1}))) == [("j", 0), ("k", 0), ("k", 1)]
    assert list(keys(placed(offers, wants, most={"j": 0}))) == [("k", 0), ("k", 1)]


def test_a_job_that_may_go_nowhere_does_not_hold_back_its_line():
    wants = [wanted(f"{i}", user="u") for i in range(3)]
    avoid = [("0", "a"), ("1", "a")]
    assert keys(placed([offer("a", slack(4, 4000))], wants, avoid=avoid)) == {("2", 0): "a"}


def test_a_hundred_thousand_who_wait_cost_no_time_when_nothing_fits():
    """One line of jobs is one look; the bench has the real numbers."""
    lines, request = Lines(), JobRequest(command=("true",), cpus=64.0)
    for i in range(20_000):
        lines.add(Job(f"{i:07}", "j", request, submitted_at=0.0), 0)
    offers = [offer(f"a{i}", slack(1, 500)) for i in range(100)]
    began_s = time.process_time()
    assert place(offers, lines, executors={}, template=TEMPLATE).launches == ()
    assert time.process_time() - began_s < 0.5


amounts = st.integers(0, 80).map(lambda tenths: tenths / 10)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), amounts, st.integers(0, 2000)), max_size=6),
    st.lists(st.tuples(st.sampled_from("jkl"), amounts.filter(bool), st.integers(1, 800)), max_size=20),
)
def test_nothing_is_launched_twice_or_beyond_what_was_offered(offered, asked):
    offers = [offer(a, slack(cpus, mem) + regular(9, 9999), number=i) for i, (a, cpus, mem) in enumerate(offered)]
    wants = [wanted(f"{job}{cpus}-{mem}", i, cpus, mem, user=job) for i, (job, cpus, mem) in enumerate(asked)]
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
