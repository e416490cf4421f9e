"""Cgroups that somebody makes read-only beneath a running executor."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from serenity.executor.tasks.cgroups import TaskCgroups, find_hierarchies
from tests.polling import eventually

NO_CGROUPS = TaskCgroups(find_hierarchies(), f"read-only-{os.getpid()}").unavailable
pytestmark = [pytest.mark.root, pytest.mark.skipif(NO_CGROUPS is not None, reason=f"task cgroups: {NO_CGROUPS}")]

# The executor has mounts of its own, lest the whole machine's become read-only.
UNSHARE = "import ctypes\nassert ctypes.CDLL(None).unshare(0x20000) == 0  # CLONE_NEWNS\n"


@pytest.fixture
def executor(start, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(UNSHARE)
    return start(more={"PYTHONPATH": str(tmp_path)}, qos=False)


def remount(executor, how):
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    for _, folder, kind, *_ in mounts:
        if kind in ("cgroup", "cgroup2"):
            mount = ["mount", "-o", f"remount,bind,{how}", folder]
            subprocess.run(["nsenter", "-t", str(executor.pid), "-m", *mount], check=True)


def test_tasks_run_on_and_end_and_new_ones_run_without_cgroups(executor, agent):
    agent.launch("t1", "sleep", "60")
    agent.launch("t2", "sh", "-c", "echo up; until [ -e go ]; do sleep 0.05; done")
    agent.wait_for("t1", "TASK_RUNNING")
    executor.wait_for_output("t2", "up")
    made = {each for each in executor.cgroups() if "control" not in each.name}
    remount(executor, "ro")
    agent.launch("t3", "true")
    agent.wait_for("t3", "TASK_FINISHED")
    (executor.sandbox / "tasks/t2/go").touch()
    agent.wait_for("t2", "TASK_FINISHED")
    agent.kill("t1")
    agent.wait_for("t1", "TASK_KILLED")
    assert made <= set(executor.cgroups())
    remount(executor, "rw")
    agent.launch("t4", "true")
    agent.wait_for("t4", "TASK_FINISHED")
    eventually(lambda: not made & set(executor.cgroups()), "what could not be removed is removed after all")
