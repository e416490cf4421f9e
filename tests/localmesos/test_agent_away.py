"""The agent is killed and started again, lost, or marked gone; on the embedded Mesos and on a real one."""

from __future__ import annotations

import base64
import os
import signal
import threading
from types import SimpleNamespace

import pytest

from serenity.localmesos.cluster.cluster import Cluster, ClusterError
from serenity.localmesos.containers import processes
from serenity.wire.transport import http
from tests.clusters import KINDS, cluster_options

# An agent that is away for three seconds is unreachable.  Executors have two to come back: with less, a real
# agent, which looks for its processes every second, takes one that has died for one that is late.
FLAGS = {
    "agent_flags": {"executor_shutdown_grace_period": "1secs"},
    "master_flags": {"agent_ping_timeout": "1secs", "max_agent_ping_timeouts": "3"},
    "resources": "cpus:8;mem:4096;disk:1024;ports:[31000-32000]",
}


@pytest.fixture(scope="module", params=KINDS)
def patient(request, tmp_path_factory):
    with Cluster(cluster_options(request.param, tmp_path_factory.mktemp(request.param), **FLAGS)) as cluster:
        yield cluster


def launch(scheduler, tools, *does):
    """Tasks in probe executors of their own."""
    offer = scheduler.offer(lambda resources: resources.regular.cpus >= 0.2 * len(does))
    tasks = [
        scheduler.task(
            offer,
            executor=tools.executor(tools.scalars(0.1, 32)),
            data=base64.b64encode(each.encode()).decode(),
        )
        for each in does
    ]
    scheduler.accept(offer, *tasks)
    return tasks


def pid_of(scheduler, task):
    return scheduler.update(task, "TASK_RUNNING")["container_status"]["executor_pid"]


def fate(scheduler, task, *states):
    """State, source, reason and message of the update with which the task gets into one of the states."""
    status = scheduler.update(task, *states)
    return tuple(status.get(name) for name in ("state", "source", "reason", "message"))


def next_status(scheduler, task):
    """The next update about that task."""
    while (status := scheduler.wait("UPDATE")["update"]["status"])["task_id"] != task["task_id"]:
        pass
    return status


def give_back(scheduler, tools):
    """For another framework.  An offer that was on its way when offers were suppressed would be kept for ever."""

    def nothing_is_held():
        while not scheduler.silent("OFFERS", 0.001):
            pass
        for offer in list(scheduler.offers):
            scheduler.decline(offer, 0.0)
        frameworks = tools.get(scheduler.cluster.master, "/state")["frameworks"]
        return not next(each["offers"] for each in frameworks if each["id"] == scheduler.id)

    scheduler.call("SUPPRESS")
    tools.eventually(nothing_is_held)


def agents(tools, cluster):
    return tools.get(cluster.master, "/slaves")["slaves"]


def counted(tools, cluster):
    state = tools.get(cluster.master, "/state")
    return tuple(state[f"{name}_slaves"] for name in ("activated", "deactivated", "unreachable"))


def answers(cluster):
    """Whether the agent is there."""
    try:
        return http.request(http.Endpoint.parse(cluster.agent), "GET", "/version").status == 200
    except http.Unreachable:
        return False


class Watch(threading.Thread):
    """Asks the agent again and again until `done`; the statuses that each path was answered with, in order."""

    PATHS = ("/state", "/containers", "/flags")

    def __init__(self, cluster):
        super().__init__(daemon=True)
        self._endpoint = http.Endpoint.parse(cluster.agent)
        self._done = threading.Event()
        self._seen = {path: [] for path in self.PATHS}
        self.start()

    def run(self):
        while not self._done.wait(0.02):
            for path, seen in self._seen.items():
                try:
                    status = http.request(self._endpoint, "GET", path).status
                except http.Unreachable:
                    continue  # It does not listen yet.
                if seen[-1:] != [status]:
                    seen.append(status)

    def done(self):
        self._done.set()
        self.join()
        return self._seen


# -- killed, and started again -------------------------------------------------------------


@pytest.fixture(scope="module")
def restart(patient, module_tools, tmp_path_factory):
    """One restart for tasks of every fate, and what was seen before, while the agent was away, and after."""
    tools, seen = module_tools, SimpleNamespace(cluster=patient)
    stop = tmp_path_factory.mktemp("restart") / "stop"
    seen.scheduler = scheduler = tools.scheduler(patient)
    names = ("runs", "deaf", "mute", "dies", "killed")
    seen.tasks = tasks = dict(zip(names, launch(scheduler, tools, "run", "deaf", "mute", "run", "run"), strict=True))
    tasks["ends"] = scheduler.run(f"while [ ! -e {stop} ]; do sleep 0.05; done; exit 3")
    seen.pids = {name: pid_of(scheduler, task) for name, task in tasks.items() if name != "mute"}
    scheduler.acknowledges = False
    (tasks["finishes"],) = launch(scheduler, tools, "finish")
    seen.unacknowledged = scheduler.update(tasks["finishes"], "TASK_RUNNING")
    give_back(scheduler, tools)
    seen.other = tools.scheduler(patient, checkpoint=False)
    (tasks["other"],) = launch(seen.other, tools, "run")
    seen.pids["other"] = pid_of(seen.other, tasks["other"])
    seen.offer = seen.other.offer(lambda resources: True)
    provider = tools.provider(patient)
    provider.close()
    (seen.agent,) = agents(tools, patient)

    patient.kill_agent()
    seen.rescinded = seen.other.wait("RESCIND")["rescind"]["offer_id"]
    (seen.agent_while_away,), seen.counts_while_away = agents(tools, patient), counted(tools, patient)
    for pid in processes.members(processes.snapshot(), seen.pids["dies"]):
        os.kill(pid, signal.SIGKILL)
    stop.touch()
    scheduler.kill(tasks["killed"])
    scheduler.acknowledges = True
    watch = Watch(patient)
    patient.start_agent()
    seen.answers = watch.done()
    seen.failure = scheduler.wait("FAILURE")["failure"]
    seen.provider = tools.provider(patient, provider_id=provider.id)
    return seen


def test_while_it_is_away_it_offers_nothing(restart):
    assert restart.rescinded == restart.offer["id"]
    assert not restart.agent_while_away["active"]
    assert restart.counts_while_away == (0, 1, 0)


def test_it_comes_back_as_the_same_agent(restart, tools):
    (agent,) = agents(tools, restart.cluster)
    assert agent["active"] and agent["id"] == restart.agent["id"]
    assert tools.get(restart.cluster.agent, "/state")["id"] == restart.agent["id"]
    assert counted(tools, restart.cluster) == (1, 0, 0)


def test_until_it_has_recovered_its_state_cannot_be_read(restart):
    assert 503 in restart.answers["/state"]
    assert 503 not in (*restart.answers["/containers"], *restart.answers["/flags"])


def test_a_task_runs_through_it(restart, tools):
    running = restart.tasks["runs"]
    assert tools.alive(restart.pids["runs"])
    restart.scheduler.call("RECONCILE", reconcile={"tasks": [{"task_id": running["task_id"]}]})
    assert next_status(restart.scheduler, running)["state"] == "TASK_RUNNING"
    restart.scheduler.kill(running)
    assert fate(restart.scheduler, running, "TASK_KILLED")[3] == "evicted"


def test_a_task_that_the_executor_knows_is_not_given_up_although_it_has_not_reported(restart, tools):
    shown = tools.get(restart.cluster.agent, "/state")["frameworks"]
    states = {
        task["id"]: task["state"] for each in shown for executor in each["executors"] for task in executor["tasks"]
    }
    assert states[restart.tasks["mute"]["task_id"]["value"]] == "TASK_STAGING"


def test_the_end_of_a_command_in_between_is_told_afterwards(restart):
    assert fate(restart.scheduler, restart.tasks["ends"], "TASK_FAILED") == (
        "TASK_FAILED", "SOURCE_EXECUTOR", None, "Command exited with status 3",
    )  # fmt: skip


def test_an_executor_that_died_in_between_takes_its_tasks(restart):
    assert fate(restart.scheduler, restart.tasks["dies"], "TASK_FAILED") == (
        "TASK_FAILED", "SOURCE_AGENT", "REASON_EXECUTOR_TERMINATED", "Executor terminated",
    )  # fmt: skip


def test_an_executor_that_does_not_come_back_is_killed(restart, tools):
    assert fate(restart.scheduler, restart.tasks["deaf"], "TASK_GONE") == (
        "TASK_GONE", "SOURCE_AGENT", "REASON_EXECUTOR_REREGISTRATION_TIMEOUT",
        "Executor did not reregister within 2secs",
    )  # fmt: skip
    assert restart.failure["status"] == signal.SIGKILL
    assert not tools.alive(restart.pids["deaf"])


def test_a_kill_in_between_is_carried_out_afterwards(restart):
    assert fate(restart.scheduler, restart.tasks["killed"], "TASK_KILLED")[1] == "SOURCE_EXECUTOR"


def test_an_update_that_was_not_acknowledged_comes_again(restart):
    task, scheduler = restart.tasks["finishes"], restart.scheduler
    scheduler.update(task, "TASK_FINISHED")
    again = [each for each in scheduler.statuses if each["task_id"] == task["task_id"]]
    assert [each["state"] for each in again][-1] == "TASK_FINISHED"
    assert restart.unacknowledged["uuid"] in [each["uuid"] for each in again[1:]]


def test_a_framework_that_does_not_checkpoint_loses_its_tasks(restart, tools):
    assert fate(restart.other, restart.tasks["other"], "TASK_LOST") == (
        "TASK_LOST", "SOURCE_MASTER", "REASON_AGENT_DISCONNECTED", "Agent 127.0.0.1 disconnected",
    )  # fmt: skip
    tools.eventually(lambda: not tools.alive(restart.pids["other"]))


def test_a_provider_is_known_by_its_id(restart, tools):
    restart.provider.report(1, 256)
    assert tools.eventually(lambda: agents(tools, restart.cluster)[0]["resources"].get("cpus_revocable") == 1.0)


# -- lost, and back ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loss(patient, restart, module_tools):
    """The agent is given up by the master, then it returns; after the restart, on the same cluster."""
    tools, seen = module_tools, SimpleNamespace(cluster=patient)
    for each in (restart.scheduler, restart.other):
        each.close()
    seen.scheduler = tools.scheduler(patient)
    (seen.task,) = launch(seen.scheduler, tools, "run")
    seen.pid = pid_of(seen.scheduler, seen.task)
    give_back(seen.scheduler, tools)
    seen.unaware = tools.scheduler(patient, capabilities=("MULTI_ROLE",))
    (seen.unaware_task,) = launch(seen.unaware, tools, "run")
    pid_of(seen.unaware, seen.unaware_task)
    patient.lose_agent()
    for each in (seen.scheduler, seen.unaware):
        assert each.wait("FAILURE")["failure"] == {"agent_id": seen.task["agent_id"]}
    seen.counts, seen.agents = counted(tools, patient), agents(tools, patient)
    asked = [
        {"task_id": seen.task["task_id"], "agent_id": seen.task["agent_id"]},
        {"task_id": seen.task["task_id"]},
        {"task_id": {"value": "nobody"}, "agent_id": seen.task["agent_id"]},
    ]
    seen.scheduler.call("RECONCILE", reconcile={"tasks": asked})
    seen.reconciled = [seen.scheduler.wait("UPDATE")["update"]["status"] for _ in asked]
    seen.told = (list(seen.scheduler.statuses), list(seen.unaware.statuses))
    patient.start_agent()
    return seen


def test_a_lost_agent_is_unreachable(loss):
    assert loss.agents == [] and loss.counts == (0, 0, 1)


def test_so_are_its_tasks_for_whoever_knows_the_word(loss):
    aware, unaware = loss.told
    status = next(each for each in aware if each["state"] == "TASK_UNREACHABLE")
    assert (status["source"], status["reason"]) == ("SOURCE_MASTER", "REASON_AGENT_REMOVED")
    assert status["message"] == "health check timed out"
    assert int(status["unreachable_time"]["nanoseconds"]) > 0 and "uuid" not in status
    status = unaware[-1]
    assert (status["state"], status["reason"]) == ("TASK_LOST", "REASON_AGENT_REMOVED")


def test_reconciliation_says_so(loss):
    by_agent, by_task, nobody = loss.reconciled
    assert (by_agent["state"], by_agent["message"]) == ("TASK_UNREACHABLE", "Reconciliation: Task is unreachable")
    assert (by_task["state"], by_task["message"]) == ("TASK_UNKNOWN", "Reconciliation: Task is unknown")
    assert nobody["state"] == "TASK_UNREACHABLE"


def test_its_tasks_come_back_with_it(loss, tools):
    for scheduler, task in ((loss.scheduler, loss.task), (loss.unaware, loss.unaware_task)):
        status = next_status(scheduler, task)
        assert (status["state"], status["reason"]) == ("TASK_RUNNING", "REASON_AGENT_REREGISTERED")
        assert status["message"] == "Unreachable agent re-reregistered"
        assert "container_status" in status
    assert tools.alive(loss.pid)
    assert counted(tools, loss.cluster) == (1, 0, 0)


# -- gone ----------------------------------------------------------------------------------


def test_an_agent_that_was_marked_gone_shuts_down_and_is_not_taken_back(own_cluster, tools):
    scheduler = tools.scheduler(own_cluster)
    (task,) = launch(scheduler, tools, "run")
    pid = pid_of(scheduler, task)
    own_cluster.mark_agent_gone()
    assert fate(scheduler, task, "TASK_GONE_BY_OPERATOR") == (
        "TASK_GONE_BY_OPERATOR", "SOURCE_MASTER", "REASON_AGENT_REMOVED_BY_OPERATOR", "Agent has been marked gone",
    )  # fmt: skip
    assert scheduler.wait("FAILURE")["failure"] == {"agent_id": task["agent_id"]}
    asked = [{"task_id": task["task_id"], "agent_id": task["agent_id"]}]
    scheduler.call("RECONCILE", reconcile={"tasks": asked})
    assert scheduler.wait("UPDATE")["update"]["status"]["message"] == "Reconciliation: Task is gone"
    tools.eventually(lambda: not tools.alive(pid))
    tools.eventually(lambda: not answers(own_cluster))
    with pytest.raises(ClusterError, match=r"the agent has ended: Agent has been marked gone|mesos-agent ended"):
        own_cluster.start_agent()
