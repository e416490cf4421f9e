"""A real executor with a task that is throttled and frozen, and every way that this can end; nothing may be left."""

from __future__ import annotations

import base64
import os
import signal
from pathlib import Path

import pytest

from serenity.executor.corrections.originals import read_record, record_file
from serenity.executor.tasks import processes
from serenity.wire.messages.kill_record import KillRecord
from tests.executor.test_qos import Production
from tests.executor.test_undo import run_undo
from tests.polling import eventually

SPINS = "trap 'echo bye; exit 0' TERM; while :; do :; done & echo up; while :; do :; done # {}"


@pytest.fixture
def executor(start, agent, estimator, marker, defect):
    """Its task `noisy` is frozen."""
    load = Production(estimator, {"noisy": lambda: 0.9}, lambda _tasks: True)
    executor = start(watch_s=0.4, recover_s=0.4, absolve_s=60.0, more=defect)
    agent.launch("noisy", "sh", "-c", SPINS.format(marker))
    executor.wait_for_output("noisy", "up")
    eventually(lambda: estimator.tasks, "the estimator knows it")
    load.start()
    eventually(lambda: "freeze" in [each.action for each in agent.corrections()], "it is frozen")
    load.ended.set()
    load.join()
    yield executor
    for pid in executor.processes_of(marker):
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def originals(tmp_path):
    return tmp_path / "run/originals"


def guardian_of(executor):
    (found,) = (each for each in executor.processes_of("guardian.py") if processes.read(each).parent == executor.pid)
    return found


def test_what_is_changed_is_written_down(executor, agent, originals):
    record = read_record(record_file(originals, agent.container_id))
    names = {Path(each.file).name for each in record.changes}
    if executor.cgroups():
        assert "freezer" in agent.corrections()[-1].outcome
        assert names in ({"cpu.cfs_quota_us", "freezer.state"}, {"cpu.max", "cgroup.freeze"})
    else:
        assert agent.corrections()[-1].outcome.endswith("SIGSTOP, frozen") and names == set()


def test_killed_it_can_handle_its_sigterm(executor, agent, marker):
    agent.kill("noisy", grace_s=10.0)
    killed = agent.wait_for("noisy", "TASK_KILLED")
    assert KillRecord.decode(base64.b64decode(killed["data"])).graceful is True
    assert executor.output("noisy") == "up\nbye\n"
    assert executor.processes_of(marker) == []
    assert executor.cgroups() == []


def test_killed_without_grace_it_dies(executor, agent, marker):
    agent.kill("noisy", grace_s=0.0)
    agent.wait_for("noisy", "TASK_KILLED")
    assert executor.processes_of(marker) == []


def test_with_its_executor_it_ends_in_order(executor, agent, marker, originals):
    agent.shutdown()
    assert executor.wait() == 0
    agent.wait_for("noisy", "TASK_KILLED", within_s=0.1)
    assert executor.processes_of(marker) == []
    assert executor.cgroups() == []
    assert list(originals.iterdir()) == []


def test_one_that_fails_undoes_it_all_the_same(executor, agent, marker, labels, originals):
    agent.kill("defect")
    assert executor.wait() == 1
    assert labels(agent.wait_for("noisy", "TASK_FAILED", within_s=0.1))["serenity.reason"] == "EXECUTOR_LOST"
    assert executor.processes_of(marker) == []
    assert executor.cgroups() == []
    assert list(originals.iterdir()) == []


@pytest.mark.parametrize("guardian_too", [False, True])
def test_after_a_kill_9_and_a_sweep_nothing_is_left(executor, agent, marker, tmp_path, originals, guardian_too):
    assert executor.processes_of(marker)
    if guardian_too:
        os.kill(guardian_of(executor), signal.SIGKILL)
    os.kill(executor.pid, signal.SIGKILL)
    executor.process.wait()
    done = run_undo(tmp_path / "run")
    assert done.returncode == 0, done.stdout
    assert agent.container_id in done.stdout
    eventually(lambda: not executor.processes_of(marker), "its processes are gone")
    eventually(lambda: not executor.cgroups(), "its cgroups are gone")
    eventually(lambda: not executor.processes_of(agent.container_id), "its guardian has gone")
    assert list(originals.iterdir()) == []
    assert run_undo(tmp_path / "run").stdout.startswith("nothing is left")


def test_after_a_kill_9_the_next_executor_undoes_it(executor, agent, marker, start, originals):
    before = agent.container_id
    os.kill(guardian_of(executor), signal.SIGKILL)
    os.kill(executor.pid, signal.SIGKILL)
    executor.process.wait()
    agent.container_id = f"{before}-next"
    next_one = start(watch_s=0.4)
    eventually(lambda: not record_file(originals, before).exists(), "it is undone")
    eventually(lambda: not executor.processes_of(marker), "the frozen task is gone")
    agent.container_id = before
    assert eventually(lambda: not [each for each in executor.cgroups() if "-next" not in each.name], "and its cgroups")
    assert eventually(lambda: f"container {before}: " in next_one.log.read_text(), "and it is said")
