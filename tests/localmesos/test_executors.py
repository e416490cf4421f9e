"""The executor API and the life of containers, on the embedded Mesos and on a real one."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest


def encoded(text):
    return base64.b64encode(text.encode()).decode()


def launch(scheduler, tools, *does, executor=None, offer=None):
    """Launches a task for each of `does` in one new probe executor; returns it and the TaskInfos."""
    offer = offer or scheduler.offer()
    executor = executor or tools.executor(tools.scalars(0.1, 32))
    tasks = [scheduler.task(offer, executor=executor, data=encoded(each)) for each in does]
    scheduler.accept(offer, *tasks)
    return executor, tasks


def test_two_tasks_share_an_executor(scheduler, tools, cluster):
    executor, (first, second) = launch(scheduler, tools, "run", "run")
    pids = {scheduler.update(task, "TASK_RUNNING")["container_status"]["executor_pid"] for task in (first, second)}
    assert len(pids) == 1
    assert scheduler.offer()["executor_ids"] == [executor["executor_id"]]
    _, (third,) = launch(scheduler, tools, "finish", executor=executor)
    scheduler.update(third, "TASK_FINISHED")
    held = framework_in(tools, cluster, scheduler)["used_resources"]["cpus"]
    assert held == pytest.approx(0.3)


def test_an_eviction_reaches_the_scheduler_unchanged(scheduler, tools):
    _, (task,) = launch(scheduler, tools, "run")
    scheduler.update(task, "TASK_RUNNING")
    scheduler.kill(task)
    status = scheduler.update(task, "TASK_KILLED")
    assert status["reason"] == "REASON_CONTAINER_PREEMPTED"
    assert (status["message"], status["data"]) == ("evicted", "eyJ3aHkiOjF9")
    assert status["labels"] == {"labels": [{"key": "cause", "value": "cpu"}]}


def test_messages_go_both_ways(scheduler, tools):
    executor, (task,) = launch(scheduler, tools, "run")
    agent_id = scheduler.update(task, "TASK_RUNNING")["agent_id"]
    message = {"agent_id": agent_id, "executor_id": executor["executor_id"], "data": encoded("hello")}
    scheduler.call("MESSAGE", message=message)
    assert scheduler.wait("MESSAGE")["message"] == message


def test_shutdown_ends_the_executor_and_is_told(scheduler, tools):
    executor, (task,) = launch(scheduler, tools, "run")
    agent_id = scheduler.update(task, "TASK_RUNNING")["agent_id"]
    scheduler.call("SHUTDOWN", shutdown={"agent_id": agent_id, "executor_id": executor["executor_id"]})
    failure = scheduler.wait("FAILURE")["failure"]
    assert failure == {"agent_id": agent_id, "executor_id": executor["executor_id"], "status": 0}
    status = scheduler.update(task, "TASK_FAILED")
    assert (status["source"], status["reason"]) == ("SOURCE_AGENT", "REASON_EXECUTOR_TERMINATED")


def test_tasks_fail_with_their_executor(scheduler, tools):
    executor, (bystander,) = launch(scheduler, tools, "run")
    scheduler.update(bystander, "TASK_RUNNING")
    _, (culprit,) = launch(scheduler, tools, "exit", executor=executor)
    assert scheduler.wait("FAILURE")["failure"]["status"] == 3 << 8
    for task in (bystander, culprit):
        status = scheduler.update(task, "TASK_FAILED")
        assert (status["message"], status["reason"]) == ("Executor terminated", "REASON_EXECUTOR_TERMINATED")
        assert "uuid" in status


def test_an_executor_that_cannot_start(scheduler, tools):
    executor = tools.executor(tools.scalars(0.1, 32), command={"value": "/nonexistent", "shell": False})
    _, (task,) = launch(scheduler, tools, "run", executor=executor)
    status = scheduler.update(task, "TASK_FAILED")
    assert (status["message"], status["reason"]) == ("Executor terminated", "REASON_EXECUTOR_TERMINATED")


def test_an_executor_that_does_not_register(own_cluster, tools):
    scheduler = tools.scheduler(own_cluster)
    executor = tools.executor(tools.scalars(0.1, 32), command={"value": "exec sleep 1000"})
    _, (task,) = launch(scheduler, tools, "run", executor=executor)
    status = scheduler.update(task, "TASK_FAILED")
    assert status["reason"] == "REASON_EXECUTOR_REGISTRATION_TIMEOUT"
    assert status["message"] == "Executor did not register within 2secs"


def test_a_task_killed_before_its_executor_came(scheduler, tools):
    executor = tools.executor(tools.scalars(0.1, 32), command={"value": "exec sleep 1000"})
    _, (task,) = launch(scheduler, tools, "run", executor=executor)
    scheduler.kill(task)
    status = scheduler.update(task, "TASK_KILLED")
    assert status["reason"] == "REASON_TASK_KILLED_DURING_LAUNCH"
    assert status["message"] == "Killed before delivery to the executor"


def test_nothing_of_a_container_survives_it(scheduler, tools, cluster):
    """A child in a session of its own outlives Mesos' posix launcher; here it must not."""
    if cluster.real:
        pytest.skip("the posix launcher leaves such children alone")
    executor, (task,) = launch(scheduler, tools, "orphan")
    orphan = int(scheduler.update(task, "TASK_RUNNING")["message"])
    agent_id = {"value": task["agent_id"]["value"]}
    assert tools.alive(orphan)
    scheduler.call("SHUTDOWN", shutdown={"agent_id": agent_id, "executor_id": executor["executor_id"]})
    scheduler.wait("FAILURE")
    assert not tools.alive(orphan)


def test_the_sandbox_is_where_mesos_has_it(scheduler, tools, cluster):
    executor, (task,) = launch(scheduler, tools, "run")
    status = scheduler.update(task, "TASK_RUNNING")
    container_id = status["container_status"]["container_id"]["value"]
    flags = tools.get(cluster.agent, "/flags")["flags"]
    runs = Path(
        flags["work_dir"], "slaves", status["agent_id"]["value"], "frameworks", scheduler.id,
        "executors", executor["executor_id"]["value"], "runs",
    )  # fmt: skip
    assert (runs / container_id / "stdout").exists()
    assert (runs / "latest").resolve() == (runs / container_id).resolve()


def framework_in(tools, cluster, scheduler):
    frameworks = tools.get(cluster.master, "/state")["frameworks"]
    return next(each for each in frameworks if each["id"] == scheduler.id)


def test_what_is_not_supported_is_said(scheduler, cluster):
    if cluster.real:
        pytest.skip("a real agent fetches URIs")
    task = scheduler.run({"value": "true", "uris": [{"value": "http://example.org/x"}]})
    status = scheduler.update(task, "TASK_FAILED")
    assert status["reason"] == "REASON_CONTAINER_LAUNCH_FAILED"
    assert status["message"] == "Failed to launch container: localmesos fetches no URIs, such as http://example.org/x"
