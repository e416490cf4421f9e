"""What the framework does for the sake of agents: planned maintenance, executors of earlier times, refusals."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from serenity.framework.mesos.calls import Accept, AcceptInverseOffers, Decline, Kill, Shutdown
from serenity.framework.mesos.scheduler import framework_info, make_call
from serenity.framework.mesos.task_info import ExecutorTemplate
from serenity.framework.placement.refusals import IDLE_S, NO_SLACK_S, WAITING_S
from serenity.framework.settings import FrameworkSettings
from serenity.wire.messages.api import JobState
from serenity.wire.transport.http import Endpoint, get_json, request
from tests.framework.conftest import Slack
from tests.framework.forked import ForkedFramework
from tests.framework.life import Life, labelled, made_offer
from tests.polling import eventually

HOUR_S = 3600.0


@pytest.fixture
def life(tmp_path):
    return Life(tmp_path)


def unavailable(life, in_s, for_s=HOUR_S):
    begins = {"nanoseconds": round((life.clock.now_s() + in_s) * 1e9)}
    return {"start": begins, **({"duration": {"nanoseconds": round(for_s * 1e9)}} if for_s else {})}


def asked_back(life, in_s, **more):
    offer = {"id": {"value": "I1"}, "agent_id": {"value": "S0"}, "unavailability": unavailable(life, in_s, **more)}
    life.core.asked_back([offer])
    return life.round()


def accepted(life):
    return [each.tasks[0]["task_id"]["value"] for each in life.of_kind(Accept)]


# -- maintenance ---------------------------------------------------------------------------------


def test_before_a_maintenance_tasks_are_ended_in_time_and_run_elsewhere_for_free(life):
    life.subscribe()
    task = life.launch()
    life.update(task, "TASK_RUNNING")
    asked_back(life, in_s=HOUR_S)
    assert life.of_kind(AcceptInverseOffers) == [AcceptInverseOffers(("I1",))] and life.of_kind(Kill) == []
    life.clock.advance(HOUR_S - 121)
    life.round()
    assert life.of_kind(Kill) == []
    life.clock.advance(1)
    life.round()
    assert [each.task_id for each in life.of_kind(Kill)] == [task]
    life.update(task, "TASK_RUNNING", uuid="u2")
    assert life.of_kind(Kill) == [], "once; and then again until it has ended"
    life.clock.advance(11)
    life.round()
    assert [each.task_id for each in life.of_kind(Kill)] == [task]
    life.update(task, "TASK_KILLED", uuid="u3", **labelled("KILLED_BY_USER"))
    (first, second) = life.store.attempts(task.split(".")[0])
    assert (first.ending.reason.code, first.retry.charged, second.number) == ("AGENT_DRAINING", False, 2)
    life.clock.advance(60)
    life.offer("S0", unavailability=unavailable(life, in_s=1))
    life.round()
    assert accepted(life) == []
    life.offer("S1")
    life.round()
    assert accepted(life) == [task[:-1] + "2"]


@pytest.mark.parametrize("nonsense", [{"start": {}}, {"start": 7}, {"end": 7}, "tomorrow"])
def test_an_unavailability_that_makes_no_sense_costs_no_other_offer(life, caplog, nonsense):
    life.subscribe()
    task = life.launch()
    life.update(task, "TASK_RUNNING")
    job = life.submit()
    life.core.offered([made_offer("S7", unavailability=nonsense), made_offer("S1")])
    life.round()
    assert accepted(life) == [f"{job}.0.1"] and life.of_kind(Accept)[0].offer_ids == ("O-S1",)
    odd = {"id": {"value": "I0"}, "agent_id": {"value": "S7"}, "unavailability": nonsense}
    at_once = {"id": {"value": "I1"}, "agent_id": {"value": "S0"}, "unavailability": unavailable(life, in_s=0)}
    life.core.asked_back([odd, {"id": 7}, at_once])
    life.round()
    assert life.of_kind(AcceptInverseOffers) == [AcceptInverseOffers(("I1",))]
    assert [each.task_id for each in life.of_kind(Kill)] == [task]
    assert caplog.text.count("cannot be read") == 3


def test_a_kill_for_the_sake_of_a_maintenance_is_repeated_after_a_restart(life):
    life.subscribe()
    task = life.launch()
    life.update(task, "TASK_RUNNING")
    asked_back(life, in_s=60)
    life.restart()
    life.subscribe()
    assert [each.task_id for each in life.of_kind(Kill)] == [task]
    life.update(task, "TASK_KILLED", uuid="u3", **labelled("KILLED_BY_USER"))
    assert life.store.attempts(task.split(".")[0])[0].ending.reason.code == "AGENT_DRAINING"
    assert life.job(task).state is JobState.PENDING


def test_nothing_new_goes_where_maintenance_is_near_until_it_is_over(life):
    life.subscribe()
    job = life.submit()
    life.offer(unavailability=unavailable(life, in_s=600, for_s=None))
    life.round()
    assert accepted(life) == [] and [each.refuse_s for each in life.of_kind(Decline)] == [IDLE_S]
    life.offer()  # It was called off.
    life.round()
    assert accepted(life) == [f"{job}.0.1"]


def test_a_maintenance_far_away_or_over_does_not_matter_yet(life):
    life.subscribe()
    for in_s in (2 * HOUR_S, -2 * HOUR_S):
        job = life.submit()
        life.offer(unavailability=unavailable(life, in_s=in_s))
        life.round()
        assert accepted(life) == [f"{job}.0.1"]


def test_a_maintenance_that_is_called_off_is_forgotten(life):
    life.subscribe()
    task = life.launch()
    life.update(task, "TASK_RUNNING")
    asked_back(life, in_s=HOUR_S)
    life.core.called_off("I1")
    life.clock.advance(HOUR_S)
    life.round()
    assert life.of_kind(Kill) == []


# -- executors of earlier times ------------------------------------------------------------------


def executor_of(life):
    (accept,) = life.of_kind(Accept)
    return accept.tasks[0]["executor"]["executor_id"]["value"]


@pytest.mark.parametrize("change", ["provider", "configuration"])
def test_an_old_executor_gets_nothing_new_and_is_ended_when_it_is_idle(life, change):
    life.subscribe()
    task = life.launch()
    old = executor_of(life)
    if change == "configuration":
        life.config = replace(life.config, executor_mem_mb=256.0)
        life.restart()
        life.subscribe()
    provider = "another" if change == "provider" else "p"
    life.update(task, "TASK_RUNNING")
    job = life.submit()
    life.offer(executors=[old], provider=provider)
    life.round()
    new = executor_of(life)
    assert new != old
    life.offer(executors=[old, new], provider=provider)
    life.round()
    assert life.of_kind(Shutdown) == [], "it has a task"
    life.update(task, "TASK_FINISHED", uuid="u2")
    life.update(f"{job}.0.1", "TASK_FINISHED", uuid="u3")
    life.offer(executors=[old, new], provider=provider)
    life.round()
    assert life.of_kind(Shutdown) == [Shutdown(old, "S0")], "the new one may be idle"
    assert [each.id for each in life.store.load().executors] == [new]


def test_an_executors_id_follows_from_all_that_it_is():
    from serenity.wire.mesos.resources import Resources

    part = Resources.from_json([{"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.1}}])
    templates = (
        ExecutorTemplate("F", "run"),
        ExecutorTemplate("F", "run", version="another"),
        ExecutorTemplate("F", "run", environment={"A": "1"}),
        ExecutorTemplate("F", "walk"),
        ExecutorTemplate("G", "run"),
    )
    ids = {each.info(part)["executor_id"]["value"] for each in templates}
    assert len(ids) == len({each.digest for each in templates}) == len(templates)
    assert ExecutorTemplate("F", "run").info(part) == ExecutorTemplate("F", "run").info(part)


# -- what Mesos is told ----------------------------------------------------------------------------


def test_agents_without_slack_are_refused_for_long_the_others_while_work_waits_shortly(life):
    life.subscribe()
    life.submit(priority=1, instances=1)
    life.offer("S1", cpus=0.2)
    life.core.offered([regular_offer("S2")])
    life.round()
    assert {each.offer_ids: each.refuse_s for each in life.of_kind(Decline)} == {
        ("O-S1",): WAITING_S,
        ("O-S2",): NO_SLACK_S,
    }


def regular_offer(agent):
    return {
        "id": {"value": f"O-{agent}"},
        "agent_id": {"value": agent},
        "hostname": agent,
        "resources": [
            {"name": name, "type": "SCALAR", "scalar": {"value": value}} for name, value in (("cpus", 8), ("mem", 9000))
        ],
    }


def test_mesos_keeps_our_tasks_for_weeks_and_gives_us_a_role_of_our_own():
    info = framework_info(FrameworkSettings(role="slack"), "F1", "h")
    assert info["failover_timeout"] >= 2 * 7 * 86400 and info["checkpoint"]
    assert (info["roles"], info["id"]) == (["slack"], {"value": "F1"})
    assert {"PARTITION_AWARE", "REVOCABLE_RESOURCES"} <= {each["type"] for each in info["capabilities"]}


def test_executors_are_ended_and_inverse_offers_accepted_in_mesos_words():
    said = []

    class Driver:
        def shutdownExecutor(self, *arguments):  # noqa: N802
            said.append(arguments)

        def acceptInverseOffers(self, offer_ids, filters):  # noqa: N802
            said.append((offer_ids, filters["refuse_seconds"] > 60))

    make_call(Driver(), Shutdown("e", "S0"))
    make_call(Driver(), AcceptInverseOffers(("I1",)))
    assert said == [({"value": "e"}, {"value": "S0"}), ([{"value": "I1"}], True)]


# -- on a real Mesos -------------------------------------------------------------------------------


@pytest.mark.parametrize("own_cluster", [pytest.param("real", marks=pytest.mark.real_mesos)], indirect=True)
def test_a_maintenance_that_is_scheduled_drains_its_agent_and_one_that_is_cancelled_opens_it(
    own_cluster, zygote, tmp_path
):
    provider, framework = Slack(own_cluster.agent, "be"), ForkedFramework(zygote, tmp_path, own_cluster.master, "be")
    try:
        framework.start()
        job = framework.submit("sleep", "60", max_retries=0)
        framework.wait_for(job, "running")
        schedule(own_cluster, in_s=60)
        eventually(lambda: framework.attempts(job)[0]["reason"] == "AGENT_DRAINING", "its end")
        first, second = framework.attempts(job)
        assert (first["state"], first["retry"]["charged"], second["state"]) == ("killed", False, "pending")
        schedule(own_cluster, in_s=None)
        eventually(lambda: framework.attempts(job)[1]["state"] == "running", "the second attempt")
    finally:
        framework.stop()
        provider.stop()


def schedule(cluster, in_s):
    """A maintenance of the one agent; None: none any more."""
    master = Endpoint.parse(cluster.master)
    (agent,) = get_json(master, "/slaves")["slaves"]
    machine = {"hostname": agent["hostname"], "ip": agent["pid"].split("@")[1].split(":")[0]}
    begins = {"nanoseconds": round((time.time() + (in_s or 0)) * 1e9)}
    window = {"machine_ids": [machine], "unavailability": {"start": begins}}
    answer = request(master, "POST", "/maintenance/schedule", {"windows": [window] if in_s is not None else []})
    assert answer.status == 200, answer.body
