"""Master, agent and update streams as state machines: no processes, no network, a clock that is set."""

from __future__ import annotations

import pytest

from serenity.localmesos.agent.executor_launch import mesos_duration
from serenity.localmesos.agent.updates import StatusUpdates
from serenity.localmesos.messages import CallRefused, RegisterAgent
from serenity.localmesos.resource_flag import parse_resources
from tests.localmesos.machines import UUIDS, World


def test_a_launch_starts_one_container_for_two_tasks(world):
    world.launch("a", "b", offer=world.offers()[0])
    (launch,) = world.launched
    assert launch.argv == ("sh", "-c", "run")
    assert launch.environment["MESOS_SANDBOX"] == str(launch.sandbox)
    world.executor_subscribe()
    subscribed, *launches = world.take("x")
    assert subscribed["type"] == "SUBSCRIBED"
    assert [event["launch"]["task"]["task_id"]["value"] for event in launches] == ["a", "b"]


def test_a_disconnected_framework_is_given_up_after_its_failover_timeout(running):
    running.master.stream_closed("s")
    running.run(9.9)
    assert "m-0000" in running.master.frameworks
    running.run(0.2)
    assert "m-0000" not in running.master.frameworks
    assert running.take("x")[-1] == {"type": "SHUTDOWN"}
    running.run(5.1)
    assert running.destroyed == [running.launched[0].container_id]


def test_a_framework_that_was_removed_cannot_come_back(running):
    running.call("TEARDOWN")
    running.subscribe("again", framework_id="m-0000")
    assert running.take("again") == [{"type": "ERROR", "error": {"message": "Framework has been removed"}}]
    assert "again" in running.closed


def test_an_update_is_sent_again_with_backoff_until_it_is_acknowledged(running):
    running.update("a", "TASK_FINISHED", UUIDS[2])
    assert running.states() == [("a", "TASK_FINISHED")]
    for pause_s in (10, 20, 40):
        running.run(pause_s - 0.1)
        assert running.states() == []
        running.run(0.2)
        assert running.states() == [("a", "TASK_FINISHED")]
    running.acknowledge("a", UUIDS[2])
    running.run(1000)
    assert running.states() == []


def test_updates_of_other_tasks_do_not_wait(running):
    running.update("a", "TASK_FAILED", UUIDS[2])
    running.update("b", "TASK_FAILED", UUIDS[3])
    assert running.states() == [("a", "TASK_FAILED"), ("b", "TASK_FAILED")]


def test_a_doubled_update_counts_once_and_is_acknowledged_twice(running):
    running.update("a", "TASK_FINISHED", UUIDS[2])
    running.update("a", "TASK_FINISHED", UUIDS[2])
    assert running.states() == [("a", "TASK_FINISHED")]
    assert len(running.take("x", "ACKNOWLEDGED")) == 2


def test_resources_are_free_when_the_task_is_over_not_when_that_is_acknowledged(running):
    running.master.frameworks["m-0000"].filters.clear()
    running.offers()
    running.update("a", "TASK_FINISHED", UUIDS[2])
    running.run(0.3)
    total = sum(offer.resources.cpus for offer in running.master.offers.values())
    assert total == pytest.approx(2 - 0.5 - 0.1)


def test_an_executor_that_dies_takes_its_tasks(running):
    running.agent.container_ended(running.launched[0].container_id, 9)
    running.run()
    failure, *updates = running.take("s")
    assert failure["failure"]["status"] == 9
    assert {event["update"]["status"]["reason"] for event in updates if event["type"] == "UPDATE"} == {
        "REASON_EXECUTOR_TERMINATED"
    }
    assert running.agent.empty


def test_tasks_that_got_lost_on_the_way_are_dropped_when_the_executor_returns(world):
    world.launch("a", offer=world.offers()[0])
    world.executor_subscribe()
    world.executor_subscribe("y", unacknowledged_tasks=[], unacknowledged_updates=[])
    assert world.states() == [("a", "TASK_DROPPED")]
    assert "x" in world.closed


def test_an_executor_of_killed_tasks_only_is_sent_away(world):
    world.launch("a", offer=world.offers()[0])
    world.call("KILL", kill={"task_id": {"value": "a"}})
    assert world.states() == [("a", "TASK_KILLED")]
    world.executor_subscribe()
    assert world.take("x") == [{"type": "SHUTDOWN"}]


def test_a_framework_without_partition_awareness_gets_task_lost(world, monkeypatch):
    monkeypatch.setitem(world.master.frameworks["m-0000"].info, "capabilities", [])
    world.call("RECONCILE", reconcile={"tasks": [{"task_id": {"value": "nobody"}}]})
    assert world.states() == [("nobody", "TASK_LOST")]


def test_a_call_before_subscribing_is_forbidden(world):
    world.master.stream_closed("s")
    with pytest.raises(CallRefused, match="Framework is not subscribed") as refused:
        world.call("REVIVE")
    assert refused.value.status == 403


def test_offers_of_two_agents_cannot_be_used_at_once(world):
    (offer,) = world.offers()
    info = {**world.settings.info, "id": {"value": "m-S1"}}
    world.master.receive("m-S1", RegisterAgent(info, world.settings.resources))
    world.run()
    (other,) = world.offers()
    world.launch("a", offer={"id": offer["id"]}, more_offers=[other["id"]])
    (status,) = [event["update"]["status"] for event in world.take("s", "UPDATE")]
    assert (status["state"], status["reason"]) == ("TASK_DROPPED", "REASON_INVALID_OFFERS")
    assert "Aggregated offers must belong to one single agent" in status["message"]


def test_an_offer_expires():
    world = World(offer_timeout_s=3.0)
    world.subscribe()
    (offer,) = world.offers()
    world.run(2.9)
    assert world.take("s", "RESCIND") == []
    world.run(0.2)
    (rescind,) = world.take("s", "RESCIND")
    assert rescind["rescind"]["offer_id"] == offer["id"]


def test_an_agent_that_was_away_too_long_is_unreachable(running):
    running.kill_agent()
    running.run(74.9)
    assert running.states() == []
    running.run(0.2)
    assert running.states() == [("a", "TASK_UNREACHABLE"), ("b", "TASK_UNREACHABLE")]


# -- parts ---------------------------------------------------------------------------------


def status(task_id, state, uuid):
    return {"task_id": {"value": task_id}, "state": state, "uuid": uuid}


def test_acknowledgements_of_what_was_not_sent_change_nothing():
    updates = StatusUpdates()
    assert updates.add("f", status("t", "TASK_RUNNING", "1"), 0.0)
    assert not updates.add("f", status("t", "TASK_FINISHED", "2"), 0.0)
    assert updates.acknowledge("f", "t", "2", 0.0) == (None, None)
    assert updates.acknowledge("f", "other", "1", 0.0) == (None, None)
    acknowledged, following = updates.acknowledge("f", "t", "1", 0.0)
    assert (acknowledged["uuid"], following["uuid"]) == ("1", "2")


def test_durations_are_spelled_as_mesos_does():
    assert [mesos_duration(each) for each in (5, 900, 90, 0.2, 7200, 0)] == [
        "5secs", "15mins", "1.5mins", "200ms", "2hrs", "0ns",
    ]  # fmt: skip


def test_resources_of_the_command_line():
    resources = parse_resources("cpus:2;mem:1024;cpus(be):1;ports:[31000-31001, 31005-31006];zones:{a,b}")
    assert resources.cpus == 3 and resources.mem_mb == 1024
    assert {kind.role for kind in resources.kinds} == {"*", "be"}
    assert resources.named("ports").to_json()[0]["ranges"]["range"][1] == {"begin": 31005, "end": 31006}
