"""Launches and offers that Mesos refuses, and how: the same on the embedded one and on a real one."""

from __future__ import annotations

import base64

import pytest

from serenity.localmesos.cluster.cluster import Cluster
from tests.clusters import KINDS, cluster_options

COMMAND = {"value": "true"}


def cpus(**fields):
    return {"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.1}, **fields}


INVALID_RESOURCES = [
    (cpus(scalar={"value": -1}), "Resource 'cpus:-1' is invalid: Invalid scalar resource: value <= 0"),
    (cpus(scalar={"value": 0.0001}), "Resource 'cpus:0' is invalid: Invalid scalar resource: value <= 0"),
    (cpus(scalar={"value": "Infinity"}), "Resource 'cpus:"),
    ({"name": "cpus", "type": "SCALAR"}, "Resource 'cpus:0' is invalid: Invalid scalar resource"),
    (cpus(type="RANGES"), "Resource 'cpus:[]' is invalid: Invalid ranges resource"),
    (cpus(name=""), "Resource ':0.1' is invalid: Empty resource name"),
    ({"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 5, "end": 2}]}},
     "Resource 'ports:[5-2]' is invalid: Invalid ranges resource: begin > end"),
    (cpus(reservations=[{"type": "DYNAMIC", "role": "*"}]),
     "Resource 'cpus(reservations: [(DYNAMIC,*)]):0.1' is invalid: "
     'Invalid reservation: role "*" cannot be reserved'),
]  # fmt: skip


@pytest.mark.parametrize(
    "fields, message",
    [
        *(({"command": COMMAND, "resources": [resource]}, text) for resource, text in INVALID_RESOURCES),
        ({"command": COMMAND, "cpus": 100}, "Total resources cpus(allocated: *):100; mem(allocated: *):32 required by "
         "task and its executor is more than available "),
        ({"command": COMMAND, "resources": [cpus(revocable={})]}, "Total resources cpus(allocated: *){REV}:0.1 "),
        ({"command": COMMAND, "resources": [cpus(name="gold")]}, "Total resources gold(allocated: *):0.1 "),
        ({"command": COMMAND, "resources": [cpus(role="x")]},
         "Total resources cpus(allocated: *)(reservations: [(STATIC,x)]):0.1 "),
        ({"command": COMMAND, "resources": [cpus(allocation_info={"role": "q"})]},
         "Total resources cpus(allocated: q):0.1 "),
        ({"command": COMMAND, "resources": [cpus(), cpus(name="mem", allocation_info={"role": "q"})]},
         "Invalid task resources: The resources have multiple allocation roles ('q' and '*') but only one"),
        ({"command": COMMAND, "resources": [cpus(), cpus(revocable={})]},
         "Task mixes revocable and non-revocable resources: "
         "Cannot use both revocable and non-revocable 'cpus' at the same time"),
        ({"command": COMMAND, "resources": [cpus(name="gpus")]},
         "Task uses invalid resources: Invalid 'gpus' resource: The 'gpus' resource must be an unsigned integer"),
        ({"command": COMMAND, "resources": []}, "Task uses no resources"),
        ({}, "Task should have at least one (but not both) of CommandInfo or ExecutorInfo present"),
        ({"command": COMMAND, "agent_id": {"value": "nope"}}, "Task uses invalid agent nope while agent "),
        ({"command": COMMAND, "task_id": "a/b"}, "'a/b' contains invalid characters"),
        ({"command": COMMAND, "task_id": ""}, "ID must not be empty"),
        ({"command": COMMAND, "task_id": ".."}, "'..' is disallowed"),
        ({"command": COMMAND, "task_id": "x" * 256}, "ID must not be greater than 255 characters"),
        ({"command": COMMAND, "kill_policy": {"grace_period": {"nanoseconds": -1}}},
         "Task's 'kill_policy.grace_period' must be non-negative"),
        ({"command": COMMAND, "max_completion_time": {"nanoseconds": -1}},
         "Task's `max_completion_time` must be non-negative"),
        ({"command": COMMAND, "limits": {"cpus": {"value": 0.01}}},
         "The cpu limit must be greater than or equal to the cpu request"),
        ({"command": COMMAND, "limits": {"gold": {"value": 1}}},
         "Only cpus and mem may be included in a task's resource limits"),
        ({"command": {**COMMAND, "environment": {"variables": [{"name": "A"}]}}},
         "Task's `CommandInfo` is invalid: Environment variable 'A' of type 'VALUE' must have a value set"),
    ],
)  # fmt: skip
def test_an_invalid_task_is_an_error(scheduler, fields, message):
    offer = scheduler.offer()
    task = scheduler.task(offer, **fields)
    scheduler.accept(offer, task)
    assert_error(scheduler, task, message)


def assert_error(scheduler, task, message):
    status = scheduler.update(task, "TASK_ERROR")
    assert (status["source"], status["reason"]) == ("SOURCE_MASTER", "REASON_TASK_INVALID")
    assert status["message"][: len(message)] == message
    assert "uuid" not in status


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"executor_id": {"value": "a/b"}}, "'a/b' contains invalid characters"),
        ({"type": "DEFAULT"}, "'ExecutorInfo.command' must not be set for 'DEFAULT' executor"),
        ({"command": None}, "'ExecutorInfo.command' must be set for 'CUSTOM' executor"),
        ({"framework_id": {"value": "q"}}, "ExecutorInfo has an invalid FrameworkID (Actual: q vs Expected: "),
        ({"shutdown_grace_period": {"nanoseconds": -1}},
         "ExecutorInfo's 'shutdown_grace_period' must be non-negative"),
        ({"resources": [cpus(scalar={"value": -1})]}, "Resource 'cpus:-1' is invalid: "),
        ({"resources": [cpus(), cpus(revocable={})]}, "Executor mixes revocable and non-revocable resources: "),
        ({"resources": [cpus(revocable={})]}, "Task and its executor mix revocable and non-revocable resources: "),
    ],
)  # fmt: skip
def test_an_invalid_executor_is_an_error(scheduler, tools, fields, message):
    offer = scheduler.offer()
    task = scheduler.task(offer, executor={**tools.executor(tools.scalars(0.1, 32)), **fields})
    scheduler.accept(offer, task)
    assert_error(scheduler, task, message)


def run_data():
    return base64.b64encode(b"run").decode()


def test_the_same_executor_id_with_another_info_is_an_error(scheduler, tools):
    executor = tools.executor(tools.scalars(0.1, 32))
    offer = scheduler.offer()
    first = scheduler.task(offer, executor=executor, data=run_data())
    second = scheduler.task(offer, executor={**executor, "name": "another"})
    scheduler.accept(offer, first, second)
    assert_error(scheduler, second, "ExecutorInfo is not compatible with existing ExecutorInfo with same ExecutorID.")
    scheduler.update(first, "TASK_RUNNING")


def test_an_executor_without_resources_is_no_error(scheduler, tools):
    offer = scheduler.offer()
    task = scheduler.task(offer, executor=tools.executor([]), data=run_data())
    scheduler.accept(offer, task)
    assert scheduler.update(task, "TASK_RUNNING")["source"] == "SOURCE_EXECUTOR"


def test_a_task_id_in_use_is_an_error(scheduler):
    offer = scheduler.offer()
    task = scheduler.task(offer, command={"value": "exec sleep 1000"})
    scheduler.accept(offer, task, task)
    assert_error(scheduler, task, f"Task has duplicate ID: {task['task_id']['value']}")
    scheduler.update(task, "TASK_RUNNING")


def test_one_invalid_resource_refuses_all_tasks_of_the_operation(scheduler):
    offer = scheduler.offer()
    good, bad = (scheduler.task(offer, command=COMMAND, cpus=amount) for amount in (0.1, -1))
    scheduler.accept(offer, good, bad)
    for task in (good, bad):
        assert_error(scheduler, task, "Resource 'cpus:-1' is invalid: ")


def test_one_task_that_is_too_large_refuses_no_other(scheduler):
    offer = scheduler.offer()
    good, bad = (scheduler.task(offer, command=COMMAND, cpus=amount) for amount in (0.1, 100))
    scheduler.accept(offer, good, bad)
    assert_error(scheduler, bad, "Total resources cpus(allocated: *):100; ")
    scheduler.update(good, "TASK_FINISHED")


# -- offers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "offers, message",
    [
        (["nope-O1"], "Offer nope-O1 is no longer valid"),
        (["own", "nope-O1"], "Offer nope-O1 is no longer valid"),
        (["own", "own"], "Duplicate offer "),
        ([], "No offers specified"),
    ],
)
@pytest.mark.parametrize("aware", [True, False])
def test_a_launch_on_offers_that_are_no_good_is_dropped(cluster, tools, offers, message, aware):
    capabilities = ("PARTITION_AWARE",) if aware else ()
    scheduler = tools.scheduler(cluster, capabilities=("MULTI_ROLE", *capabilities))
    offer = scheduler.offer()
    task = scheduler.task(offer, command=COMMAND)
    operations = [{"type": "LAUNCH", "launch": {"task_infos": [task]}}]
    offer_ids = [offer["id"] if each == "own" else {"value": each} for each in offers]
    accept = {"offer_ids": offer_ids, "operations": operations, "filters": {"refuse_seconds": 0}}
    scheduler.call("ACCEPT", accept=accept)
    status = scheduler.update(task, "TASK_DROPPED" if aware else "TASK_LOST")
    assert (status["source"], status["reason"]) == ("SOURCE_MASTER", "REASON_INVALID_OFFERS")
    assert status["message"].startswith(f"Task launched with invalid offers: {message}")


def test_another_frameworks_offer_is_no_good(cluster, tools, scheduler):
    offer = scheduler.offer()
    thief = tools.scheduler(cluster)
    task = thief.task(offer, command=COMMAND)
    thief.accept(offer, task)
    status = thief.update(task, "TASK_DROPPED")
    assert status["message"] == (
        f"Task launched with invalid offers: Offer {offer['id']['value']} has invalid framework {scheduler.id} "
        f"while framework {thief.id} is expected"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_offer_expires(kind, tmp_path, tools):
    with Cluster(cluster_options(kind, tmp_path, master_flags={"offer_timeout": "1secs"})) as cluster:
        scheduler = tools.scheduler(cluster)
        offer = scheduler.offer()
        assert scheduler.wait("RESCIND", 5)["rescind"]["offer_id"] == offer["id"]
        assert scheduler.offer()["id"] != offer["id"]
        scheduler.close()
