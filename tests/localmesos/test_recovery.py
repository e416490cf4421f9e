"""The agent goes on from what it had checkpointed, whenever it was killed.  State machines only."""

from __future__ import annotations

import base64

import pytest

from serenity.localmesos.messages import CallRefused, RecoveredContainer
from tests.localmesos.machines import UUIDS, World


def restart(world, **subscribe):
    """AgentKilledError, started, and the executor comes back in time."""
    world.kill_agent()
    world.start_agent()
    world.executor_subscribe("y", **subscribe)
    world.run(2.1)


def tasks_of_agent(world):
    return sorted(
        (task_id, task.state)
        for framework in world.agent.frameworks.values()
        for executor in framework.executors.values()
        for task_id, task in executor.launched.items()
    )


def test_executors_and_tasks_are_known_again(running):
    (launch,) = running.launched
    restart(running)
    assert running.recovered[-1].containers == (RecoveredContainer(launch.container_id, launch.sandbox, 4711),)
    assert tasks_of_agent(running) == [("a", "TASK_RUNNING"), ("b", "TASK_RUNNING")]
    assert running.take("y")[0]["type"] == "SUBSCRIBED"
    running.update("a", "TASK_FINISHED", UUIDS[2])
    assert running.states() == [("a", "TASK_FINISHED")]


def test_an_executor_that_stays_away_is_killed_and_its_tasks_are_gone(running):
    running.kill_agent()
    running.start_agent()
    running.run(2.1)
    assert running.destroyed == [running.launched[0].container_id]
    running.agent.container_ended(running.launched[0].container_id, 9)
    running.run()
    assert running.states() == [("a", "TASK_GONE"), ("b", "TASK_GONE")]


def test_an_update_that_was_not_acknowledged_is_kept(running):
    running.update("a", "TASK_FINISHED", UUIDS[2])
    running.take("s")
    restart(running)
    assert ("a", "TASK_FINISHED") in running.states()
    running.acknowledge("a", UUIDS[2])
    running.run(1000)
    assert running.states() == []


def test_one_that_the_executor_sends_again_counts_once(running):
    running.update("a", "TASK_FINISHED", UUIDS[2])
    running.acknowledge("a", UUIDS[2])
    running.update("b", "TASK_KILLING", UUIDS[3])
    running.acknowledge("b", UUIDS[3])
    running.take("s")
    status = {"task_id": {"value": "b"}, "state": "TASK_KILLING", "uuid": UUIDS[3], "source": "SOURCE_EXECUTOR"}
    restart(running, unacknowledged_updates=[{"status": status}])
    assert running.states() == []
    acknowledged = [event["acknowledged"]["uuid"] for event in running.take("y", "ACKNOWLEDGED")]
    assert acknowledged == [UUIDS[3]]


def test_a_task_that_was_on_its_way_to_the_executor_is_dropped(world):
    world.launch("a", offer=world.offers()[0])
    world.agent.container_launched(world.launched[0].container_id, 4711)
    world.executor_subscribe()  # It gets the task, and never reads it.
    restart(world, unacknowledged_tasks=[])
    (update,) = {event["update"]["status"]["message"] for event in world.take("s", "UPDATE")}
    assert update == "Task launched during agent restart"


def test_an_executor_that_was_never_started_is_given_up(world):
    world.launch("a", offer=world.offers()[0])
    world.kill_agent()
    world.start_agent()
    assert world.recovered[-1].containers == ()
    world.run()
    status = world.take("s", "UPDATE")[0]["update"]["status"]
    assert (status["state"], status["message"]) == (
        "TASK_FAILED", "Abnormal executor termination: unknown container",
    )  # fmt: skip


def test_a_launch_that_never_reached_the_agent_is_dropped(running):
    running.run(5.1)  # The filter of what the first launch left over.
    (offer,) = running.offers()
    running.agent, agent = None, running.agent  # The message is lost on the way.
    running.launch("c", offer=offer)
    running.agent = agent
    restart(running)
    status = running.take("s", "UPDATE")[-1]["update"]["status"]
    assert (status["task_id"], status["state"]) == ({"value": "c"}, "TASK_DROPPED")
    assert status["message"] == "Reconciliation: task unknown to the agent"
    running.acknowledge("c", status["uuid"])
    assert "c" not in running.master.frameworks["m-0000"].tasks


def test_a_framework_that_was_torn_down_in_between_is_shut_down(running):
    running.kill_agent()
    running.call("TEARDOWN")
    running.start_agent()
    running.executor_subscribe("y")
    running.run(2.1)
    assert running.take("y")[-1] == {"type": "SHUTDOWN"}


def test_what_a_provider_reports_in_recovery_counts(running):
    running.kill_agent()
    running.start_agent()
    info = {"type": "org.serenity.test", "name": "test"}
    running.agent.provider_subscribe("p", {"subscribe": {"resource_provider_info": info}})
    running.run()
    provider_id = running.take("p")[0]["subscribed"]["provider_id"]
    slack = {"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}, "revocable": {}, "provider_id": provider_id}
    update = {"resources": [slack], "resource_version_uuid": {"value": UUIDS[0]}}
    call = {"type": "UPDATE_STATE", "resource_provider_id": provider_id, "update_state": update}
    running.agent.provider_call("p", call)
    running.run(2.1)
    assert running.master.agents["m-S0"].total.revocable.cpus == 1
    restart(running)
    running.agent.provider_subscribe("q", {"subscribe": {"resource_provider_info": {**info, "id": provider_id}}})
    running.run()
    assert running.take("q")[0]["subscribed"]["provider_id"] == provider_id


def test_nothing_of_a_framework_without_checkpoint_is_written_down():
    world = World()
    world.subscribe(checkpoint=False)
    world.launch("a", offer=world.offers()[0])
    assert set(world.files) == {"agent.json"}


def test_what_is_over_is_forgotten(running):
    assert len(running.files) == 5
    running.agent.container_ended(running.launched[0].container_id, 0)
    running.run()
    for event in running.take("s", "UPDATE"):
        status = event["update"]["status"]
        running.acknowledge(status["task_id"]["value"], status["uuid"])
    assert set(running.files) == {"agent.json"}


def test_calls_but_subscribe_wait_for_the_end_of_recovery(running):
    running.kill_agent()
    running.start_agent()
    with pytest.raises(CallRefused, match="Agent has not finished recovery") as refused:
        running.update("a", "TASK_FINISHED", UUIDS[2])
    assert refused.value.status == 503
    running.executor_subscribe("y")
    with pytest.raises(CallRefused, match="Agent has not finished recovery"):
        running.update("a", "TASK_FINISHED", UUIDS[2])
    running.run(2.1)
    running.update("a", "TASK_FINISHED", UUIDS[2])
    assert running.states() == [("a", "TASK_FINISHED")]


# -- killed at any moment ------------------------------------------------------------------


class AgentKilledError(Exception):
    """The agent was, between two things that it wanted done."""


class Fragile(World):
    """Its agent is killed before one of its effects.  With an executor and a scheduler that behave."""

    def __init__(self, effects_left):
        self.effects_left = effects_left
        self.alive = False  # The executor is.
        self.streams = 0
        self.unreported = {}  # Tasks that the executor knows, until their first update is acknowledged.
        self.known = set()
        self.updates = {}  # Statuses by uuid, until acknowledged.
        self.heard = {}  # By the scheduler: states by task id.
        self.offered = []
        super().__init__()

    def next_of_agent(self):
        self.effects_left -= 1
        if self.effects_left == 0:
            raise AgentKilledError

    def run(self, seconds=0.0):
        super().run(seconds)
        for event in self.take(f"x{self.streams}"):
            if event["type"] == "LAUNCH":
                task = event["launch"]["task"]
                self.known.add(task["task_id"]["value"])
                self.unreported[task["task_id"]["value"]] = task
            elif event["type"] == "ACKNOWLEDGED":
                self.updates.pop(event["acknowledged"]["uuid"], None)
                self.unreported.pop(event["acknowledged"]["task_id"]["value"], None)
        events = self.take("s")
        self.offered += [offer for event in events if event["type"] == "OFFERS" for offer in event["offers"]["offers"]]
        for status in [event["update"]["status"] for event in events if event["type"] == "UPDATE"]:
            self.heard.setdefault(status["task_id"]["value"], []).append(status["state"])
            if "uuid" in status:
                self.acknowledge(status["task_id"]["value"], status["uuid"])

    def step(self, do):
        try:
            do()
        except AgentKilledError:
            self.kill_agent()
            self.start_agent()
            if not self.recovered[-1].containers:
                self.alive = False  # An orphan is killed, started or just starting.
                self.launched.clear()
            self.subscribe_executor()
            for each in self.recovered[-1].containers:
                if not self.alive:
                    self.agent.container_ended(each.container_id, None)
            self.run(2.1)

    def start_executor(self):
        if self.launched:
            self.alive = True
            self.agent.container_launched(self.launched[0].container_id, 4711)
            self.run()

    def subscribe_executor(self):
        if self.alive:
            self.streams += 1
            updates = [{"status": each} for each in self.updates.values()]
            tasks = list(self.unreported.values())
            self.executor_subscribe(f"x{self.streams}", unacknowledged_tasks=tasks, unacknowledged_updates=updates)

    def report(self, task_id, state):
        if self.alive and task_id in self.known:
            uuid = base64.b64encode(f"{task_id}{state:>15}"[:16].encode()).decode()
            self.updates[uuid] = {
                "task_id": {"value": task_id},
                "state": state,
                "uuid": uuid,
                "source": "SOURCE_EXECUTOR",
            }
            self.executor_call("UPDATE", update={"status": self.updates[uuid]})

    def end_executor(self):
        self.alive = False
        if self.launched:
            self.agent.container_ended(self.launched[0].container_id, 0)
        self.run()


def story(effects_left):
    """Two tasks in one executor, from launch to end; the agent is killed before its effect of that number."""
    world = Fragile(10**9)
    world.subscribe()
    world.effects_left = effects_left
    world.step(lambda: world.launch("a", "b", offer=world.offered[0]))
    world.step(world.start_executor)
    world.step(world.subscribe_executor)
    for state in ("TASK_RUNNING", "TASK_FINISHED"):
        for task_id in ("a", "b"):
            world.step(lambda task_id=task_id, state=state: world.report(task_id, state))
    world.step(world.end_executor)
    world.run(11)  # What was lost on the way is sent again.
    return world


EFFECTS = 10**6 - story(10**6).effects_left


@pytest.mark.parametrize("number", range(1, EFFECTS + 1))
def test_no_task_is_lost_whenever_the_agent_is_killed(number):
    world = story(number)
    assert world.effects_left < 0 or number == EFFECTS, "it was never killed"
    over = {"TASK_FINISHED", "TASK_FAILED", "TASK_DROPPED", "TASK_GONE"}
    assert {task_id: bool(over & set(states)) for task_id, states in world.heard.items()} == {"a": True, "b": True}
    assert world.master.frameworks["m-0000"].tasks == {}
    assert world.master.frameworks["m-0000"].executors == {}
    assert world.agent.frameworks == {}
