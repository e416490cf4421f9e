"""The executor under a whole Mesos: the embedded one, and the real one where it is."""

from __future__ import annotations

import base64
import os
import queue
import signal
import subprocess
import sys
import time

import pytest

from serenity.wire.mesos.resources import Resources
from serenity.wire.mesos.scheduler import SchedulerDriver
from serenity.wire.messages import from_executor
from serenity.wire.messages.framework_message import MessageError
from serenity.wire.messages.kill_record import KillRecord
from serenity.wire.messages.task_spec import TaskSpec
from tests.polling import eventually

CAPABILITIES = ("REVOCABLE_RESOURCES", "PARTITION_AWARE", "TASK_KILLING_STATE", "MULTI_ROLE", "RESERVATION_REFINEMENT")
CALLBACKS_OF_NO_INTEREST = {
    *("registered", "reregistered", "disconnected", "offerRescinded", "inverseOffers", "inverseOfferRescinded"),
    *("frameworkMessage", "slaveLost", "processHeartBeat", "error"),
}
ENDED = ("TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_GONE", "TASK_LOST")


class Framework:
    """Launches all tasks of a test in one executor, as soon as there is an offer."""

    def __init__(self, master, run_dir, tasks):
        self.statuses = queue.Queue()
        self.seen = []
        self.lost = queue.Queue()
        self._tasks = dict(tasks)
        self._variables = {
            "SERENITY_RUN_DIR": str(run_dir),
            "SERENITY_EXECUTOR_RUNG0": "false",
            "SERENITY_EXECUTOR_ALLOW_ROOT": "true",
        }
        info = {
            "user": "root" if os.geteuid() == 0 else "nobody",
            "name": "be",
            "roles": ["*"],
            "checkpoint": True,
            "failover_timeout": 60.0,
            "capabilities": [{"type": each} for each in CAPABILITIES],
        }
        self.driver = SchedulerDriver(self, info, master)
        self.driver.start()

    def __getattr__(self, name):
        if name in CALLBACKS_OF_NO_INTEREST:
            return lambda *_: None
        raise AttributeError(name)

    def resourceOffers(self, driver, offers):  # noqa: N802
        for offer in offers:
            # The cluster is shared: an offer may be the rest of what another test's framework left.
            enough = Resources.from_json(offer["resources"]).regular.amount("cpus") >= 1.0
            tasks, self._tasks = (self._tasks, {}) if enough else ({}, self._tasks)
            driver.launchTasks(
                [offer["id"]], [self._task(offer, *each) for each in tasks.items()], {"refuse_seconds": 0.5}
            )

    def statusUpdate(self, driver, status):  # noqa: N802
        driver.acknowledgeStatusUpdate(status)
        self.statuses.put(status)

    def executorLost(self, driver, executor_id, agent_id, status):  # noqa: N802
        self.lost.put(status)

    def wait_for(self, task, *states):
        deadline = time.monotonic() + 20
        while True:
            for status in self.seen:
                if status["task_id"]["value"] == task and status["state"] in states:
                    return status
            self.seen.append(self.statuses.get(timeout=max(0.01, deadline - time.monotonic())))

    def _task(self, offer, name, argv):
        self.agent_id = offer["agent_id"]
        spec = TaskSpec(job_id=name, job_name=name, instance=0, attempt=1, argv=argv, cpus=0.1, mem_bytes=32 << 20)
        variables = [{"name": key, "value": value} for key, value in self._variables.items()]
        return {
            "name": name,
            "task_id": {"value": name},
            "agent_id": offer["agent_id"],
            "resources": _resources(0.1, 32),
            "data": base64.b64encode(spec.encode()).decode(),
            "executor": {
                "type": "CUSTOM",
                "executor_id": {"value": "serenity"},
                "framework_id": {"value": self.driver.framework_id},
                "command": {
                    "value": f"exec {sys.executable} -P -m serenity.executor",
                    "environment": {"variables": variables},
                },
                "resources": _resources(0.1, 64),
            },
        }

    def stop(self):
        self.driver.stop(failover=False)


def _resources(cpus, mem):
    return [
        {"name": name, "type": "SCALAR", "scalar": {"value": value}, "allocation_info": {"role": "*"}}
        for name, value in (("cpus", cpus), ("mem", mem))
    ]


@pytest.fixture
def framework(cluster, tmp_path):
    started = []

    def start(**tasks):
        started.append(Framework(cluster.master, tmp_path, tasks))
        return started[-1]

    yield start
    for each in started:
        each.stop()


def test_tasks_come_and_go_and_the_executor_ends_in_order(framework, marker, shared):
    tree = ("sh", "-c", f"trap '' TERM; setsid sleep {marker} & while :; do sleep 0.1; done")  # Ends by force only.
    left = ("sh", "-c", f"setsid sleep {marker} & sleep 60")
    be = framework(
        well=("sh", "-c", "echo hi"), ill=("sh", "-c", "exit 3"), missing=("no-such-command",), tree=tree, left=left
    )
    be.wait_for("well", "TASK_FINISHED")
    assert be.wait_for("ill", "TASK_FAILED")["message"] == "exited with 3"
    assert be.wait_for("missing", "TASK_FAILED")["message"] == "command not found: no-such-command"
    be.wait_for("tree", "TASK_RUNNING")
    be.wait_for("left", "TASK_RUNNING")
    eventually(lambda: len(shared.processes_of(marker)) == 4, "both trees run, and have their traps")
    policy = {"grace_period": {"nanoseconds": 300_000_000}}
    be.driver.killTask({"value": "tree"}, be.agent_id, policy)
    be.wait_for("tree", "TASK_KILLING")
    killed = be.wait_for("tree", "TASK_KILLED")
    record = KillRecord.decode(base64.b64decode(killed["data"]))
    assert (record.reason, record.graceful, record.killed.task) == ("KILLED_BY_USER", False, "tree")
    assert len(shared.processes_of(marker)) == 2  # Of "left": the shell and its child.

    be.driver.shutdownExecutor({"value": "serenity"}, be.agent_id)
    be.wait_for("left", "TASK_KILLED")
    assert be.lost.get(timeout=10) == 0
    assert shared.processes_of(marker) == []


def test_a_killed_executor_takes_all_of_its_tasks_with_it(framework, marker, shared, tmp_path):
    be = framework(tree=("sh", "-c", f"echo $PPID > ppid; setsid sleep {marker} & sleep {marker}"))
    running = be.wait_for("tree", "TASK_RUNNING")
    container = running.get("container_status", {})
    executor_pid = container.get("executor_pid")
    eventually(lambda: len(shared.processes_of(marker)) == 3, "the tree runs")
    assert executor_pid, running
    os.kill(executor_pid, signal.SIGKILL)
    failed = be.wait_for("tree", *ENDED)
    assert (failed["state"], failed["source"]) == ("TASK_FAILED", "SOURCE_AGENT")
    eventually(lambda: shared.processes_of(marker) == [], "nothing of it is left")
    # Mesos may have killed its guardian, too, before that removed the cgroups.
    undo = [sys.executable, "-P", "-m", "serenity.executor", "--undo", "--run-dir", str(tmp_path)]
    assert subprocess.run(undo, stdout=subprocess.DEVNULL, timeout=60, check=False).returncode == 0
    assert shared.cgroups_of(container["container_id"]["value"]) == []


@pytest.mark.parametrize(
    "data",
    [
        b"!",
        *(base64.b64encode(each) for each in (b"", b"{}", b"\xff", b'{"type":"outcome","task":"\xff"}')),
        base64.b64encode(b'{"type":"outcome","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ],
    ids=["no base64", "empty", "no type", "no JSON", "no UTF-8", "deep"],
)
def test_a_framework_message_that_is_no_correction(data):
    with pytest.raises(MessageError):
        from_executor.decode(data.decode())
