"""The scheduler API, on the embedded Mesos and on a real one."""

from __future__ import annotations

import time

import pytest

LONG = "exec sleep 1000"


def test_an_offer_has_what_a_real_one_has(scheduler):
    offer = scheduler.offer()
    assert scheduler.subscribed["heartbeat_interval_seconds"] == 15.0
    assert set(offer) >= {"id", "framework_id", "agent_id", "hostname", "url", "resources", "allocation_info"}
    assert offer["allocation_info"] == {"role": "*"}
    assert all(each["allocation_info"] == {"role": "*"} for each in offer["resources"])
    assert offer["url"]["path"] == "/slave(1)"


def test_a_command_runs_with_the_environment_of_mesos(scheduler, tools):
    variables = {"variables": [{"name": "GREETING", "value": "hello"}]}
    task = scheduler.run({"value": "echo $GREETING; env", "environment": variables})
    status = scheduler.update(task, "TASK_FINISHED", "TASK_FAILED")
    assert scheduler.states(task) == ["TASK_STARTING", "TASK_RUNNING", "TASK_FINISHED"]
    assert status["message"] == "Command exited with status 0"
    assert status["source"] == "SOURCE_EXECUTOR" and status["executor_id"] == task["task_id"]
    assert status["container_status"]["container_id"]["value"] in status_directory(tools, scheduler, task)
    output = read_file(tools, scheduler, task, "stdout")
    environment = dict(line.partition("=")[::2] for line in output.splitlines()[1:])
    assert output.startswith("hello\n")
    assert environment["MESOS_SANDBOX"] == environment["PWD"] == status_directory(tools, scheduler, task)
    assert environment["MESOS_CHECKPOINT"] == "1"
    assert environment["PATH"] == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    assert "PYTHONPATH" not in environment


@pytest.mark.parametrize(
    "command, message",
    [
        ({"value": "exit 5"}, "Command exited with status 5"),
        ({"value": "kill -9 $$"}, "Command terminated with signal Killed"),
        ({"value": "/nonexistent/program", "shell": False, "arguments": ["program"]}, "Failed to execute command: "),
    ],
)
def test_a_command_that_fails(scheduler, command, message):
    task = scheduler.run(command)
    status = scheduler.update(task, "TASK_FAILED", "TASK_FINISHED")
    assert status["state"] == "TASK_FAILED"
    assert status["message"].startswith(message)


def test_a_kill_escalates_after_the_grace_period(scheduler):
    policy = {"grace_period": {"nanoseconds": 300_000_000}}
    command = "trap '' TERM; echo; while :; do sleep 0.1; done"
    task = scheduler.run(command, kill_policy=policy)
    scheduler.update(task, "TASK_RUNNING")
    time.sleep(0.1)  # For the trap: nothing tells when a shell has set it.
    scheduler.kill(task)
    status = scheduler.update(task, "TASK_KILLED", "TASK_FAILED")
    assert status["message"] == "Command terminated with signal Killed"
    assert scheduler.states(task)[-2:] == ["TASK_KILLING", "TASK_KILLED"]


def test_a_kill_policy_in_the_call_prevails(scheduler):
    task = scheduler.run(LONG, kill_policy={"grace_period": {"nanoseconds": 3_600_000_000_000}})
    scheduler.update(task, "TASK_RUNNING")
    scheduler.kill(task, kill_policy={"grace_period": {"nanoseconds": 0}})
    assert scheduler.update(task, "TASK_KILLED")["message"].startswith("Command terminated with signal")


def test_the_next_update_waits_for_the_acknowledgement(scheduler):
    scheduler.acknowledges = False
    task = scheduler.run("true")
    first = scheduler.update(task, "TASK_STARTING")
    assert scheduler.silent("UPDATE", 0.5)
    scheduler.acknowledge(first)
    second = scheduler.update(task, "TASK_RUNNING")
    scheduler.acknowledge(second)
    scheduler.update(task, "TASK_FINISHED")


def test_unacknowledged_updates_come_again_to_the_framework_that_returns(cluster, tools, scheduler):
    scheduler.acknowledges = False
    task = scheduler.run("true")
    status = scheduler.update(task, "TASK_STARTING")
    scheduler.close(teardown=False)
    again = tools.scheduler(cluster, framework_id=scheduler.id)
    assert again.update(task, "TASK_STARTING")["uuid"] == status["uuid"]
    again.update(task, "TASK_FINISHED")
    assert again.states(task)[-2:] == ["TASK_RUNNING", "TASK_FINISHED"]


def test_a_second_subscription_replaces_the_first(cluster, tools, scheduler):
    task = scheduler.run(LONG)
    scheduler.update(task, "TASK_RUNNING")
    again = tools.scheduler(cluster, framework_id=scheduler.id)
    assert scheduler.wait("ERROR")["error"]["message"] == "Framework failed over"
    with pytest.raises(EOFError):
        scheduler.wait("OFFERS")
    again.call("RECONCILE", reconcile={"tasks": []})
    assert again.update(task, "TASK_RUNNING")["reason"] == "REASON_RECONCILIATION"


def test_a_framework_that_stays_away_is_torn_down(cluster, tools):
    scheduler = tools.scheduler(cluster, failover_timeout_s=0.5)
    task = scheduler.run(LONG)
    pid = scheduler.update(task, "TASK_RUNNING")["container_status"]["executor_pid"]
    scheduler.close(teardown=False)
    tools.eventually(lambda: not tools.alive(pid))
    assert scheduler.id not in framework_ids(tools, cluster)


def test_teardown_kills_the_tasks(cluster, tools, scheduler):
    task = scheduler.run(LONG)
    pid = scheduler.update(task, "TASK_RUNNING")["container_status"]["executor_pid"]
    scheduler.call("TEARDOWN")
    tools.eventually(lambda: not tools.alive(pid))
    assert scheduler.id not in framework_ids(tools, cluster)


# -- offers ------------------------------------------------------------------------------


def test_what_was_declined_does_not_come_back_at_once(scheduler):
    scheduler.decline(scheduler.offer(), refuse_s=1.0)
    started = time.monotonic()
    scheduler.wait("OFFERS")
    assert time.monotonic() - started > 0.8


def test_revive_clears_the_filters(scheduler):
    scheduler.decline(scheduler.offer(), refuse_s=3600.0)
    assert scheduler.silent("OFFERS", 0.5)
    scheduler.call("REVIVE")
    scheduler.wait("OFFERS", 2.0)


def test_a_suppressed_framework_gets_none(scheduler):
    offer = scheduler.offer()
    scheduler.call("SUPPRESS")
    scheduler.decline(offer, refuse_s=0.0)
    assert scheduler.silent("OFFERS", 0.7)
    scheduler.call("REVIVE")
    scheduler.wait("OFFERS", 2.0)


def test_the_end_of_a_task_brings_its_resources_back(scheduler):
    offer = scheduler.offer()
    task = scheduler.task(offer, cpus=1.0, command={"value": "sleep 0.5"})
    scheduler.accept(offer, task, refuse_s=3600.0)
    scheduler.update(task, "TASK_FINISHED")
    returned = scheduler.offer(lambda resources: resources.cpus >= 1)
    assert returned["id"] != offer["id"]


# -- reconciliation ----------------------------------------------------------------------


def test_implicit_reconciliation_tells_of_every_task(scheduler):
    task = scheduler.run(LONG)
    scheduler.update(task, "TASK_RUNNING")
    scheduler.call("RECONCILE", reconcile={"tasks": []})
    status = scheduler.wait("UPDATE")["update"]["status"]
    assert status["task_id"] == task["task_id"] and status["state"] == "TASK_RUNNING"
    assert (status["source"], status["reason"]) == ("SOURCE_MASTER", "REASON_RECONCILIATION")
    assert status["message"] == "Reconciliation: Latest task state"
    assert "uuid" not in status and "container_status" in status


def test_explicit_reconciliation_of_tasks_nobody_knows(scheduler):
    agent_id = scheduler.offer()["agent_id"]
    scheduler.call("RECONCILE", reconcile={"tasks": [{"task_id": {"value": "a"}}]})
    assert scheduler.wait("UPDATE")["update"]["status"]["state"] == "TASK_UNKNOWN"
    scheduler.call("RECONCILE", reconcile={"tasks": [{"task_id": {"value": "b"}, "agent_id": agent_id}]})
    assert scheduler.wait("UPDATE")["update"]["status"]["state"] == "TASK_GONE"


def test_killing_an_unknown_task_is_answered_by_reconciliation(scheduler):
    scheduler.call("KILL", kill={"task_id": {"value": "nobody"}})
    status = scheduler.wait("UPDATE")["update"]["status"]
    assert (status["state"], status["reason"]) == ("TASK_UNKNOWN", "REASON_RECONCILIATION")


# -- reading -----------------------------------------------------------------------------


def status_directory(tools, scheduler, task) -> str:
    return tools.eventually(lambda: _directory(tools, scheduler, task))


def _directory(tools, scheduler, task):
    state = tools.get(scheduler.cluster.agent, "/state")
    for framework in state["frameworks"] + state["completed_frameworks"]:
        if framework["id"] == scheduler.id:
            for executor in framework["executors"] + framework["completed_executors"]:
                if executor["id"] == task["task_id"]["value"]:
                    return executor["directory"]
    return None


def read_file(tools, scheduler, task, name) -> str:
    path = f"{status_directory(tools, scheduler, task)}/{name}"
    return tools.get(scheduler.cluster.agent, f"/files/read?path={path}&offset=0")["data"]


def framework_ids(tools, cluster) -> set[str]:
    return {framework["id"] for framework in tools.get(cluster.master, "/state")["frameworks"]}
