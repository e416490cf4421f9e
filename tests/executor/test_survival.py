"""What may happen to a task and its executor together, and must not matter."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from serenity.executor.tasks import processes
from serenity.wire.messages.kill_record import KillRecord
from tests.polling import eventually

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")


@pytest.fixture
def executor(shared):
    yield shared
    shared.start_over()


@pytest.fixture
def agent(executor):
    return executor.agent


def test_launched_again_after_its_end_it_does_not_run_again(executor, agent, labels):
    agent.launch("t1", "sh", "-c", "echo once")
    agent.wait_for("t1", "TASK_FINISHED")
    agent.launch("t1", "sh", "-c", "echo twice")
    refused = agent.wait_for("t1", "TASK_FAILED")
    assert labels(refused)["serenity.reason"] == "LAUNCH_REFUSED"
    assert "t1 has run here before" in refused["message"]
    assert executor.output("t1") == "once\n"


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to make cgroups")
def test_a_stranger_in_a_task_s_cgroup_does_not_keep_it(executor, agent):
    agent.launch("t1", "sleep", "60")
    agent.wait_for("t1", "TASK_RUNNING")
    joined = [each for each in executor.cgroups() if "control" not in each.name]
    if not joined:
        pytest.skip("tasks have no cgroups on this machine")
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        for each in joined:
            (each / "cgroup.procs").write_text(str(stranger.pid))
        agent.kill("t1", grace_s=0.0)
        agent.wait_for("t1", "TASK_KILLED")
        eventually(lambda: not set(joined) & set(executor.cgroups()), "its cgroups are removed")
        assert stranger.wait(timeout=10.0) == -signal.SIGKILL
    finally:
        stranger.kill()
        stranger.wait()


def test_a_thousand_short_children_keep_nobody_waiting(executor, agent):
    storm = "i=0; while [ $i -lt 1000 ]; do (setsid true &) ; i=$((i+1)); done; echo done; sleep 60"
    agent.launch("t1", "sh", "-c", storm)
    agent.wait_for("t1", "TASK_RUNNING")
    slowest_s, rounds = 0.0, 0
    while "done" not in executor.output("t1") or rounds < 2:
        rounds += 1
        began_s = time.monotonic()
        agent.launch(f"quick{rounds}", "true")
        agent.wait_for(f"quick{rounds}", "TASK_FINISHED")
        slowest_s = max(slowest_s, time.monotonic() - began_s)
    assert slowest_s < 5.0
    eventually(lambda: not zombies(executor.pid), "no zombie is left")
    began_s = time.monotonic()
    agent.kill("t1")
    agent.wait_for("t1", "TASK_KILLED")
    assert time.monotonic() - began_s < 5.0


def zombies(parent):
    found = (processes.read(pid) for pid in processes.children(parent))
    return [each for each in found if each is not None and not each.alive]


@pytest.mark.root
@pytest.mark.skipif(not os.access(LAST_PID, os.W_OK) or os.geteuid() != 0, reason="needs the right to choose a pid")
def test_the_pid_of_a_leader_that_was_reaped_may_be_anybodys(executor, agent):
    """What it has left behind still has its grace then."""
    worker = "trap 'sleep 4; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    agent.launch("t1", "sh", "-c", f'echo $$; setsid sh -c "{worker}" & wait', grace_s=30.0)
    executor.wait_for_output("t1", "up")
    leader = int(executor.output("t1").split()[0])
    agent.kill("t1")
    eventually(lambda: processes.read(leader) is None, "the leader is reaped")
    for attempt in range(20):
        LAST_PID.write_text(str(leader - 1))
        agent.launch(f"next{attempt}", "sh", "-c", "echo $$; exit 7")
        assert agent.wait_for(f"next{attempt}", "TASK_FAILED")["message"] == "exited with 7"
        if int(executor.output(f"next{attempt}")) == leader:
            break
    else:
        pytest.skip("others were always given the pid")
    assert [each["state"] for each in agent.updates("t1")] == ["TASK_RUNNING", "TASK_KILLING"]
    exited = KillRecord.decode(base64.b64decode(agent.wait_for("t1", "TASK_KILLED")["data"])).exit
    assert (exited.code, exited.signal) == (None, signal.SIGTERM)
