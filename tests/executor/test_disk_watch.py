"""How long the sandboxes of ended tasks are kept."""

from __future__ import annotations

import os

import pytest

from serenity.executor.tasks.disk_watch import kept_for_s, removed
from tests.polling import eventually

DAY_S = 86400.0


@pytest.mark.parametrize(
    ("kept_s", "used", "expected_s"),
    [(DAY_S, 0.0, 0.9 * DAY_S), (DAY_S, 0.5, 0.4 * DAY_S), (DAY_S, 0.9, 600.0), (DAY_S, 1.0, 600.0), (60.0, 1.0, 60.0)],
)
def test_the_fuller_the_disk_the_shorter(kept_s, used, expected_s):
    assert kept_for_s(kept_s, used) == pytest.approx(expected_s)


def test_what_an_ended_task_has_left_goes_and_nothing_else(start, agent, tmp_path):
    executor = start(qos=False, task_kept_s=0.5)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    agent.launch("running", "sh", "-c", "echo up; sleep 60")
    agent.launch("ended", "sh", "-c", f"mkdir -p a/b; touch a/b/c; chmod 500 a; ln -s {precious} link")
    executor.wait_for_output("running", "up")
    agent.launch("deep", "sh", "-c", "i=0; while [ $i -lt 1100 ]; do touch f; mkdir d; cd d; i=$((i+1)); done")
    for task in ("ended", "deep"):
        agent.wait_for(task, "TASK_FINISHED")
        left = executor.sandbox / "tasks" / task
        eventually(lambda left=left: not left.exists(), "the ended one's sandbox is removed")
    assert (precious / "file").exists()
    assert executor.output("running") == "up\n"
    assert agent.updates("running")[-1]["state"] == "TASK_RUNNING"


def test_a_deep_sandbox_takes_few_files_to_remove(tmp_path):
    sandbox = tmp_path / "sandbox"
    os.makedirs(sandbox / "/".join("d" * 300))
    before, most = len(os.listdir("/proc/self/fd")), 0
    for _ in removed(sandbox):
        most = max(most, len(os.listdir("/proc/self/fd")))
    assert not sandbox.exists()
    assert most - before < 60
