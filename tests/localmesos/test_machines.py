"""Master, agent and update streams as state machines: no processes, no network, a clock that is set."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from serenity.localmesos.agent import Agent
from serenity.localmesos.executor_launch import AgentSettings, mesos_duration
from serenity.localmesos.master import Master
from serenity.localmesos.messages import CallRefused, Close, DestroyContainer, LaunchContainer, Send, ToMaster
from serenity.localmesos.resource_flag import parse_resources
from serenity.localmesos.updates import StatusUpdates
from serenity.wire.resources import Resources

INFO = {"id": "m", "ip": 0, "port": 1, "hostname": "h", "pid": "master@h:1", "address": {"ip": "h"}, "capabilities": []}
CAPABILITIES = [{"type": each} for each in ("REVOCABLE_RESOURCES", "PARTITION_AWARE", "MULTI_ROLE")]
EXECUTOR = {"executor_id": {"value": "e"}, "command": {"value": "run"}}
UUIDS = [base64.b64encode(bytes([n]) * 16).decode() for n in range(9)]


class World:
    """Both machines joined; what they want of the world is noted."""

    def __init__(self):
        self.now_s = 1000.0
        self.master = Master(INFO, lambda: self.now_s, 0.2)
        settings = AgentSettings("m-S0", "h", "h", 2, Path("/w"), parse_resources("cpus:2;mem:1024"), "/imports")
        self.agent = Agent(settings, lambda: self.now_s)
        self.events = []  # (stream id, event)
        self.closed = []
        self.launched = []
        self.destroyed = []
        self.run()

    def run(self, seconds=0.0):
        self.now_s += seconds
        self.master.tick()
        self.agent.tick()
        while self.master.outbox or self.agent.outbox:
            for outbox in (self.master.outbox, self.agent.outbox):
                effects = outbox.copy()
                outbox.clear()
                for effect in effects:
                    self._carry_out(effect)

    def _carry_out(self, effect):
        if isinstance(effect, Send):
            self.events.append((effect.stream_id, effect.event))
        elif isinstance(effect, Close):
            self.closed.append(effect.stream_id)
        elif isinstance(effect, LaunchContainer):
            self.launched.append(effect)
        elif isinstance(effect, DestroyContainer):
            self.destroyed.append(effect.container_id)
        elif isinstance(effect, ToMaster):
            self.master.receive(effect)
        else:
            self.agent.receive(effect)

    def take(self, stream_id, kind=None):
        """The events of a stream so far, which are then forgotten; those of one kind if it is given."""
        mine = [event for to, event in self.events if to == stream_id]
        self.events = [(to, event) for to, event in self.events if to != stream_id]
        return [event for event in mine if kind in (None, event["type"])]

    def subscribe(self, stream_id="s", framework_id=None, failover_timeout_s=10.0):
        info = {
            "user": "",
            "name": "",
            "roles": ["*"],
            "capabilities": CAPABILITIES,
            "failover_timeout": failover_timeout_s,
        }
        call = {"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}
        if framework_id is not None:
            info["id"] = call["framework_id"] = {"value": framework_id}
        self.master.subscribe(stream_id, call)
        self.run()

    def call(self, kind, stream_id="s", framework_id="m-0000", **body):
        self.master.call(stream_id, {"type": kind, "framework_id": {"value": framework_id}, **body})
        self.run()

    def launch(self, *task_ids, offer):
        tasks = [
            {
                "name": "",
                "task_id": {"value": task_id},
                "agent_id": {"value": "m-S0"},
                "resources": Resources.scalar("cpus", 0.5).to_json(),
                "executor": {**EXECUTOR, "resources": Resources.scalar("cpus", 0.1).to_json()},
            }
            for task_id in task_ids
        ]
        operations = [{"type": "LAUNCH", "launch": {"task_infos": tasks}}]
        self.call("ACCEPT", accept={"offer_ids": [offer["id"]], "operations": operations})

    def offers(self, stream_id="s"):
        return [offer for event in self.take(stream_id, "OFFERS") for offer in event["offers"]["offers"]]

    def executor_call(self, kind, **body):
        ids = {"framework_id": {"value": "m-0000"}, "executor_id": {"value": "e"}}
        self.agent.executor_calls.call({"type": kind, **ids, **body})
        self.run()

    def executor_subscribe(self, stream_id="x", **subscribe):
        ids = {"framework_id": {"value": "m-0000"}, "executor_id": {"value": "e"}}
        self.agent.executor_calls.subscribe(stream_id, {"type": "SUBSCRIBE", **ids, "subscribe": subscribe})
        self.run()

    def update(self, task_id, state, uuid):
        status = {"task_id": {"value": task_id}, "state": state, "uuid": uuid, "source": "SOURCE_EXECUTOR"}
        self.executor_call("UPDATE", update={"status": status})

    def acknowledge(self, task_id, uuid):
        acknowledge = {"agent_id": {"value": "m-S0"}, "task_id": {"value": task_id}, "uuid": uuid}
        self.call("ACKNOWLEDGE", acknowledge=acknowledge)

    def states(self, stream_id="s"):
        statuses = [event["update"]["status"] for event in self.take(stream_id, "UPDATE")]
        return [(each["task_id"]["value"], each["state"]) for each in statuses]


@pytest.fixture
def world():
    made = World()
    made.subscribe()
    return made


@pytest.fixture
def running(world):
    """One executor that runs the tasks a and b, whose first updates are acknowledged."""
    world.launch("a", "b", offer=world.offers()[0])
    world.executor_subscribe()
    for task_id, uuid in (("a", UUIDS[0]), ("b", UUIDS[1])):
        world.update(task_id, "TASK_RUNNING", uuid)
        world.acknowledge(task_id, uuid)
    world.take("s")
    world.take("x")
    return world


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
