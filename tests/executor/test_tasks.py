"""Tasks on a real executor process: how they start, end, and are ended."""

from __future__ import annotations

import base64
import json
import os
import signal

import pytest

from serenity.wire.messages.kill_record import KillRecord
from tests.polling import eventually


@pytest.fixture
def executor(shared):
    """One executor for all tests here; each finds it without tasks."""
    yield shared
    shared.start_over()


@pytest.fixture
def agent(executor):
    return executor.agent


# A grandchild that leaves session and parent, the way a daemon does.
ESCAPE = "setsid sh -c 'setsid sleep {marker} & exec sleep {marker}' & "


def record(status):
    return KillRecord.decode(base64.b64decode(status["data"]))


def test_a_task_runs_in_its_own_sandbox_and_finishes(executor, agent, labels):
    agent.launch("t1", "sh", "-c", "echo out; echo err >&2; pwd; env", env={"GREETING": "hello"}, attempt=2)
    finished = agent.wait_for("t1", "TASK_FINISHED")

    assert [each["state"] for each in agent.updates("t1")] == ["TASK_RUNNING", "TASK_FINISHED"]
    assert float(labels(finished)["serenity.cpu_s"]) >= 0
    folder = executor.sandbox / "tasks" / "t1"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert executor.output("t1", "stderr") == "err\n"
    first, where, *environment = executor.output("t1").splitlines()
    assert (first, where) == ("out", str(folder))
    told = dict(each.split("=", 1) for each in environment)
    assert told["GREETING"] == "hello"
    assert told["MESOS_SANDBOX"] == str(folder)
    assert [told[f"SERENITY_{name}"] for name in ("JOB", "TASK", "INSTANCE", "ATTEMPT")] == ["j1", "t1", "0", "2"]
    assert told["PATH"] == os.environ["PATH"]  # As Mesos gave it to the executor.
    assert {name for name in told if name.startswith(("MESOS_", "LIBPROCESS_", "SERENITY_E"))} == {
        *("MESOS_SANDBOX", "MESOS_TASK_ID", "MESOS_FRAMEWORK_ID", "MESOS_EXECUTOR_ID", "MESOS_SLAVE_ID")
    }
    assert "secret-token" not in executor.output("t1")


def test_a_failing_command_says_how_it_failed(executor, agent, labels):
    agent.launch("t1", "sh", "-c", "exit 3")
    agent.launch("t2", "sh", "-c", "kill -9 $$")
    failed, signaled = agent.wait_for("t1", "TASK_FAILED"), agent.wait_for("t2", "TASK_FAILED")
    assert failed["message"] == "exited with 3"
    assert labels(failed)["serenity.reason"] == "COMMAND_FAILED"
    assert signaled["message"] == "ended by SIGKILL"
    assert labels(signaled)["serenity.reason"] == "COMMAND_SIGNALED"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["no-such-command"], "command not found: no-such-command"),
        (["./missing"], "cannot run ./missing: No such file or directory"),
        (["/etc/passwd"], "cannot run /etc/passwd: not executable (Permission denied)"),
    ],
)
def test_a_command_that_cannot_be_started(executor, agent, labels, argv, message):
    agent.launch("t1", *argv)
    failed = agent.wait_for("t1", "TASK_FAILED")
    assert failed["message"] == message
    assert labels(failed)["serenity.reason"] == "LAUNCH_FAILED"
    assert [each["state"] for each in agent.updates("t1")] == ["TASK_FAILED"]
    assert executor.output("t1", "stderr") == ""


@pytest.mark.parametrize("data", [b"", b"{}", b'{"argv": 1}', b"\xff"])
def test_a_task_description_that_makes_no_sense(executor, agent, labels, data):
    agent.launch("t1", data=data)
    failed = agent.wait_for("t1", "TASK_FAILED")
    assert labels(failed)["serenity.reason"] == "LAUNCH_FAILED"
    assert "task description" in failed["message"]
    agent.launch("t2", "true")
    agent.wait_for("t2", "TASK_FINISHED")


def test_an_unknown_user(executor, agent, labels):
    agent.launch("t1", "true", user="nobody-of-that-name")
    failed = agent.wait_for("t1", "TASK_FAILED")
    assert failed["message"] == "no user nobody-of-that-name on this agent"


@pytest.mark.parametrize(
    ("argv", "spec"),
    [
        (["/" + "x" * 5000], {}),
        (["x" * 5000], {}),
        (["/" + "\N{PILE OF POO}" * 3000], {}),
        (["true"], {"user": "no\0body"}),
        (["tr\0ue"], {}),
        (["true"], {"env": {"A=B": "x"}}),
    ],
    ids=["long path", "long name", "long path, not ASCII", "NUL in the user", "NUL in the command", "= in a variable"],
)
def test_whatever_a_job_asks_for_the_executor_lives_on(executor, agent, labels, argv, spec):
    agent.launch("t1", *argv, **spec)
    failed = agent.wait_for("t1", "TASK_FAILED")
    assert labels(failed)["serenity.reason"] == "LAUNCH_FAILED"
    assert len(failed["message"]) < 3000
    agent.launch("t2", "true")
    agent.wait_for("t2", "TASK_FINISHED")


def test_what_forks_all_the_time_ends_by_the_signal_that_it_is_killed_by(executor, agent):
    """Where forking is forbidden for the kill, a shell that sees this ends by itself, with 2."""
    for attempt in range(5):
        task_id = f"t{attempt}"
        agent.launch(task_id, "sh", "-c", "trap '' TERM; echo up; while :; do /bin/true; done", grace_s=60.0)
        executor.wait_for_output(task_id, "up")
        agent.kill(task_id, grace_s=0.0)
        written = record(agent.wait_for(task_id, "TASK_KILLED"))
        assert (written.exit.code, written.exit.signal) == (None, signal.SIGKILL)


def test_a_kill_gives_the_grace_of_the_call_and_then_ends_the_whole_tree(executor, agent, labels, marker):
    stubborn = f"trap '' TERM; {ESCAPE.format(marker=marker)} echo up; while :; do sleep 0.1; done"
    agent.launch("t1", "sh", "-c", stubborn, grace_s=60.0)
    executor.wait_for_output("t1", "up")
    eventually(lambda: len(executor.processes_of(marker)) >= 2, "the grandchildren run")

    agent.kill("t1", grace_s=0.5)
    agent.wait_for("t1", "TASK_KILLING")
    killed = agent.wait_for("t1", "TASK_KILLED")
    assert executor.processes_of(marker) == []
    assert labels(killed)["serenity.reason"] == "KILLED_BY_USER"
    assert "reason" not in killed
    written = record(killed)
    assert (written.reason, written.graceful) == ("KILLED_BY_USER", False)
    assert (written.exit.code, written.exit.signal) == (None, signal.SIGKILL)
    assert written.killed.ran_for_s >= 0.5
    assert (written.agent.hostname, written.killed.job) == ("h7", "job")


def test_a_kill_lets_a_task_end_in_order(executor, agent):
    agent.launch("t1", "sh", "-c", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    executor.wait_for_output("t1", "up")
    agent.kill("t1")
    killed = agent.wait_for("t1", "TASK_KILLED")
    assert executor.output("t1") == "up\nbye\n"
    assert (record(killed).graceful, record(killed).exit.code) == (True, 0)


def test_members_of_a_group_have_their_grace_after_their_leader_has_gone(executor, agent):
    worker = "trap 'sleep 0.5; echo saved; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    agent.launch("t1", "sh", "-c", f'sh -c "{worker}" & wait', grace_s=10.0)
    executor.wait_for_output("t1", "up")
    agent.kill("t1")
    agent.wait_for("t1", "TASK_KILLED")
    assert "saved" in executor.output("t1")


def test_what_a_task_leaves_behind_ends_with_it(executor, agent, marker):
    agent.launch("t1", "sh", "-c", f"{ESCAPE.format(marker=marker)} sleep 0.3; exit 7")
    failed = agent.wait_for("t1", "TASK_FAILED")
    assert failed["message"] == "exited with 7"
    eventually(lambda: executor.processes_of(marker) == [], "what was sent SIGKILL has ended")


def test_a_stopped_task_can_be_killed(executor, agent):
    agent.launch("t1", "sh", "-c", "echo up; trap 'echo bye; exit 0' TERM; kill -STOP $$; sleep 60")
    executor.wait_for_output("t1", "up")
    agent.kill("t1")
    assert record(agent.wait_for("t1", "TASK_KILLED")).graceful
    assert executor.output("t1") == "up\nbye\n"


def test_a_kill_of_an_unknown_task_harms_nobody(executor, agent):
    agent.launch("t1", "sleep", "60")
    agent.wait_for("t1", "TASK_RUNNING")
    agent.kill("t0")
    agent.launch("t2", "true")
    agent.wait_for("t2", "TASK_FINISHED")
    assert agent.updates("t0") == []
    assert len(agent.updates("t1")) == 1


def test_the_longest_runtime(executor, agent, labels):
    agent.launch("t1", "sleep", "60", max_runtime_s=0.5)
    failed = agent.wait_for("t1", "TASK_FAILED")
    assert labels(failed)["serenity.reason"] == "MAX_RUNTIME"
    assert record(failed).reason == "MAX_RUNTIME"


def test_every_record_is_in_the_journal_too(executor, agent):
    sent = []
    for name in ("t1", "t2"):
        agent.launch(name, "sleep", "60")
        agent.wait_for(name, "TASK_RUNNING")
        agent.kill(name)
        sent.append(record(agent.wait_for(name, "TASK_KILLED")))
    journal = executor.sandbox / "journal.jsonl"
    eventually(lambda: journal.exists() and len(journal.read_text().splitlines()) == 2, "both are written")
    records = [json.loads(each)["record"] for each in journal.read_text().splitlines()]
    assert [each["id"] for each in records] == [each.id for each in sent]


def test_orphans_by_the_hundred_are_reaped(executor, agent):
    agent.launch(
        "t1", "sh", "-c", "i=0; while [ $i -lt 200 ]; do (setsid true &) ; i=$((i+1)); done; echo done; sleep 60"
    )
    executor.wait_for_output("t1", "done")

    def zombies():
        children = (os.path.join("/proc", each, "stat") for each in _children(executor.pid))
        return [each for each in children if os.path.exists(each) and ") Z " in open(each).read()]

    assert eventually(lambda: not zombies(), "no zombie is left")


def _children(pid):
    return open(f"/proc/{pid}/task/{pid}/children").read().split()


def test_launched_twice_it_runs_once(executor, agent):
    for _ in range(2):
        agent.launch("t1", "sh", "-c", "echo up; sleep 60")
    agent.launch("t2", "true")
    agent.wait_for("t2", "TASK_FINISHED")
    agent.wait_for("t1", "TASK_RUNNING")
    executor.wait_for_output("t1", "up")
    assert executor.output("t1") == "up\n"
    assert [each["state"] for each in agent.updates("t1")] == ["TASK_RUNNING"]
