"""How an executor ends: in order, told by agent or signal, and what is left of it then, which is nothing."""

from __future__ import annotations

import base64
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serenity.executor.tasks import processes
from serenity.wire.messages.kill_record import KillRecord
from tests.polling import eventually

STUBBORN = (
    "trap '' TERM; (setsid sh -c 'trap \"\" TERM; sleep {0}; sleep {0}' &) ; echo up; while :; do sleep 0.1; done # {0}"
)
TIDY = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"


@pytest.mark.parametrize("how", ["agent", "signal"])
def test_told_to_end_it_leaves_nothing_behind(executor, agent, labels, marker, how):
    agent.launch("tidy", "sh", "-c", TIDY)
    agent.launch("stubborn", "sh", "-c", STUBBORN.format(marker))
    for task in ("tidy", "stubborn"):
        executor.wait_for_output(task, "up")
    eventually(lambda: len(executor.processes_of(marker)) >= 3, "the grandchildren run")

    if how == "agent":
        agent.shutdown()
    else:
        executor.process.send_signal(signal.SIGTERM)
    assert executor.wait(within_s=2.5) == 0  # The agent's own grace.
    assert executor.processes_of(marker) == []
    assert executor.cgroups() == []
    assert executor.output("tidy") == "up\nbye\n"
    for task, graceful in (("tidy", True), ("stubborn", False)):
        killed = agent.wait_for(task, "TASK_KILLED", within_s=0.1)
        assert labels(killed)["serenity.reason"] == "EXECUTOR_LOST"
        assert KillRecord.decode(base64.b64decode(killed["data"])).graceful is graceful


def test_the_last_updates_are_acknowledged_before_it_ends(executor, agent):
    agent.launch("t1", "sleep", "60")
    agent.wait_for("t1", "TASK_RUNNING")
    agent.acknowledging = False
    agent.shutdown()
    killed = agent.wait_for("t1", "TASK_KILLED")
    assert executor.process.poll() is None
    acknowledged = {"task_id": killed["task_id"], "uuid": killed["uuid"]}
    for update in agent.updates("t1"):
        agent.say({"type": "ACKNOWLEDGED", "acknowledged": {**acknowledged, "uuid": update["uuid"]}})
    assert executor.wait(within_s=2.0) == 0


def test_an_agent_that_ends_itself_acknowledges_nothing_and_does_not_keep_it(start, agent):
    """Else the agent's own grace ends first, and it kills us with our cgroup still there."""
    agent.grace = "20secs"
    executor = start()
    agent.launch("t1", "sleep", "60")
    agent.wait_for("t1", "TASK_RUNNING")
    agent.acknowledging = False
    agent.shutdown()
    assert executor.wait(within_s=10.0) == 0
    assert executor.cgroups() == []


def test_a_lost_agent_does_not_keep_it(executor, agent):
    agent.launch("t1", "sleep", "60")
    agent.wait_for("t1", "TASK_RUNNING")
    agent.stop()
    executor.process.send_signal(signal.SIGTERM)
    assert executor.wait(within_s=6.0) == 0


def test_updates_made_while_the_agent_was_away_arrive(executor, agent):
    agent.launch("t1", "sh", "-c", "sleep 0.3; exit 3")
    agent.wait_for("t1", "TASK_RUNNING")
    agent.drop_stream()
    assert agent.wait_for("t1", "TASK_FAILED")["message"] == "exited with 3"


def test_while_it_ends_launches_are_refused(executor, agent, labels, marker):
    agent.launch("t1", "sh", "-c", STUBBORN.format(marker))
    executor.wait_for_output("t1", "up")
    agent.shutdown()
    agent.wait_for("t1", "TASK_KILLING")
    agent.launch("t2", "true")
    refused = agent.wait_for("t2", "TASK_FAILED")
    assert labels(refused)["serenity.reason"] == "LAUNCH_REFUSED"


def test_killed_itself_its_tasks_die_with_it(executor, agent, marker):
    agent.launch("t1", "sh", "-c", f"(setsid sleep {marker} &); sleep {marker} & echo up; wait")
    executor.wait_for_output("t1", "up")
    eventually(lambda: len(executor.processes_of(marker)) >= 3, "the grandchildren run")
    os.kill(executor.pid, signal.SIGKILL)
    executor.wait()
    eventually(lambda: executor.processes_of(marker) == [], "all of the task has died")
    eventually(lambda: executor.cgroups() == [], "its cgroups are gone")
    assert executor.process.returncode == -signal.SIGKILL


def test_a_killed_guardian_is_followed_by_another_which_does_as_it_would_have(executor, agent, marker):
    agent.launch("t1", "sh", "-c", f"(setsid sleep {marker} &); echo up; sleep {marker}")
    executor.wait_for_output("t1", "up")
    for _ in range(2):
        (guardian,) = guardians_of(executor)
        os.kill(guardian, signal.SIGKILL)
        eventually(lambda guardian=guardian: set(guardians_of(executor)) - {guardian}, "another")
    assert len(executor.processes_of(marker)) >= 2, "a task was taken for a guardian"
    os.kill(executor.pid, signal.SIGKILL)
    executor.wait()
    eventually(lambda: executor.processes_of(marker) == [], "all of the task has died")
    eventually(lambda: executor.cgroups() == [], "its cgroups are gone")


def guardians_of(executor):
    return [each for each in executor.processes_of("guardian.py") if processes.read(each).parent == executor.pid]


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to make cgroups")
def test_killed_itself_what_has_lost_its_environment_dies_too(executor, agent, marker):
    agent.launch("t1", "sh", "-c", f"(env -i setsid sleep {marker} &); echo up; sleep {marker}")
    executor.wait_for_output("t1", "up")
    eventually(lambda: len(executor.processes_of(marker)) >= 3, "the daemon runs")
    if not executor.cgroups():
        pytest.skip("tasks have no cgroups on this machine")
    os.kill(executor.pid, signal.SIGKILL)
    executor.wait()
    eventually(lambda: executor.processes_of(marker) == [], "all of the task has died")
    eventually(lambda: executor.cgroups() == [], "its cgroups are gone")
    assert executor.process.returncode == -signal.SIGKILL


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to make cgroups")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_forks_and_exits_all_the_time_dies_too(executor, agent, marker, how):
    fleeting = "import os  #{0}\nprint('up', flush=True)\nif os.fork(): os.wait()\nwhile True:\n"
    fleeting += "    try: os._exit(0) if os.fork() else os.setsid()\n    except OSError: pass"
    script = f"{shlex.join([sys.executable, '-S', '-c', fleeting.format(marker)])}; sleep {marker}"
    agent.launch("t1", "sh", "-c", script, mem_bytes=1 << 29, grace_s=0.0)
    executor.wait_for_output("t1", "up")
    if not executor.cgroups():
        pytest.skip("tasks have no cgroups on this machine")
    executor.process.send_signal(how)
    executor.wait()
    eventually(lambda: executor.cgroups() == [], "its cgroups are gone, and so nothing is in them")
    assert not any(executor.processes_of(marker) for _ in range(30))


@pytest.mark.root
@pytest.mark.skipif(not os.access("/sys/fs/cgroup/freezer/cgroup.procs", os.W_OK), reason="needs root and cgroups v1")
def test_the_guardian_is_not_in_the_cgroups_that_mesos_ends_with_the_container(marker):
    """Of a killed executor Mesos kills all that is in its container's freezer, and would not wait for the guardian."""
    container = f"guarded-{marker}"
    folders = [Path("/sys/fs/cgroup", controller, container) for controller in ("freezer", "memory")]
    code = (
        "import sys\nfrom serenity.executor.tasks.guardian import Guardian\n"
        "for each in sys.argv[2:]:\n    open(f'{each}/cgroup.procs', 'w').write('0')\n"
        "guardian = Guardian(sys.argv[1], ())\nprint(guardian.pid, flush=True)\nsys.stdin.read()\nguardian.end()"
    )
    for each in folders:
        each.mkdir()
    executor = subprocess.Popen(
        [sys.executable, "-c", code, container, *map(str, folders)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        guardian = int(executor.stdout.readline())
        eventually(lambda: container not in Path(f"/proc/{guardian}/cgroup").read_text(), "the guardian's move")
        assert container in Path(f"/proc/{executor.pid}/cgroup").read_text()
    finally:
        executor.communicate()
        for each in folders:
            each.rmdir()
    assert executor.returncode == 0 and not Path(f"/proc/{guardian}").exists()


def test_an_agent_that_is_gone_for_good_is_waited_for_and_then_it_ends_in_order(start, agent, marker):
    executor = start(more={"MESOS_RECOVERY_TIMEOUT": "1500ms"})
    agent.launch("tidy", "sh", "-c", TIDY)
    agent.launch("stubborn", "sh", "-c", STUBBORN.format(marker), grace_s=0.5)
    for task in ("tidy", "stubborn"):
        executor.wait_for_output(task, "up")
    gone_s = time.monotonic()
    agent.stop()
    assert executor.wait() == 0
    assert time.monotonic() - gone_s > 1.5
    assert executor.output("tidy") == "up\nbye\n"
    assert executor.processes_of(marker) == [] and executor.cgroups() == []
    assert "the agent is gone for good" in executor.log.read_text()


def test_one_that_fails_takes_its_tasks_with_it_and_says_so(start, agent, labels, marker, defect):
    executor = start(more=defect)
    agent.launch("ended", "true")
    agent.wait_for("ended", "TASK_FINISHED")
    agent.launch("t1", "sh", "-c", STUBBORN.format(marker))
    agent.launch("t2", "sleep", marker)
    executor.wait_for_output("t1", "up")
    agent.wait_for("t2", "TASK_RUNNING")
    agent.kill("defect")
    assert executor.wait() == 1
    for task in ("t1", "t2"):
        lost = agent.updates(task)[-1]
        assert (lost["state"], labels(lost)["serenity.reason"]) == ("TASK_FAILED", "EXECUTOR_LOST")
        assert lost["message"] == "the executor has failed: RuntimeError('made up')"
    assert len(agent.updates("ended")) == 2
    assert executor.processes_of(marker) == [] and executor.cgroups() == []


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "MESOS_AGENT_ENDPOINT is not set: a Mesos agent starts this program"),
        ({"SERENITY_EXECUTOR_WATCH_S": "-1"}, "watch_s = -1.0; it must be greater than 0"),
        ({"SERENITY_EXECUTOR_WATCH_S": "soon"}, "SERENITY_EXECUTOR_WATCH_S"),
        ({"SERENITY_EXECUTOR_PIPELINE": "/no/such/file"}, "/no/such/file"),
    ],
)
def test_started_wrongly_it_says_so_in_one_line(environment, says, tmp_path):
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "serenity.executor"],
        env={"PATH": os.environ["PATH"], **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 2
    assert says in ended.stderr
    assert ended.stderr.startswith("serenity executor: ")
    assert ended.stderr.count("\n") == 1
