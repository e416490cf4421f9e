"""What a task is before its command's first instruction: its user and its priority."""

from __future__ import annotations

import os
import re
import resource

import pytest


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a task as somebody else")
def test_a_task_runs_as_the_user_of_its_job(start, agent, tmp_path):
    executor = start(qos=False)
    executor.sandbox.chmod(0o750)  # As Mesos makes it.
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o001 == 0:
            folder.chmod(folder.stat().st_mode | 0o011)
    shown = 'id -un; id -Gn; touch "$MESOS_SANDBOX/mine"; grep -h Cap /proc/self/status'
    agent.launch("t1", "sh", "-c", shown, user="nobody")
    agent.wait_for("t1", "TASK_FINISHED")
    user, groups, *capabilities = executor.output("t1").splitlines()
    assert (user, groups) == ("nobody", "nogroup")
    assert "CapEff:\t0000000000000000" in capabilities
    assert executor.sandbox.stat().st_mode & 0o777 == 0o751  # Others get through it, and see nothing.


def test_rung_0_starts_at_the_lowest_priority(start, agent):
    executor = start(qos=False, rung0=True)
    agent.launch("t1", "sh", "-c", "chrt -p $$; cat /proc/self/oom_score_adj")
    agent.wait_for("t1", "TASK_FINISHED", within_s=60.0)  # It runs when nobody else wants to.
    assert "SCHED_IDLE" in executor.output("t1")
    assert executor.output("t1").endswith("1000\n")
    assert re.search(r"t1 runs with (cpu\.\S+( \d)?, )?SCHED_IDLE", executor.log.read_text())


def test_without_rung_0_priorities_are_left_alone(start, agent):
    executor = start(qos=False, rung0=False)
    agent.launch("t1", "sh", "-c", "chrt -p $$; nice; cat /proc/self/oom_score_adj")
    agent.wait_for("t1", "TASK_FINISHED")
    assert "SCHED_OTHER" in executor.output("t1")
    assert executor.output("t1").splitlines()[-2:] == [str(os.nice(0)), "1000"]


def test_the_executor_may_open_more_files_than_its_tasks(start, agent):
    """It must not run out of them: without /proc it can look after nobody."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, before[1]))
    try:
        executor = start(qos=False)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    agent.launch("t1", "sh", "-c", "ulimit -S -n; ulimit -H -n")
    agent.wait_for("t1", "TASK_FINISHED")
    soft, hard = executor.output("t1").split()
    assert (soft, resource.prlimit(executor.pid, resource.RLIMIT_NOFILE)) == ("500", (before[1], before[1]))
    assert hard == str(before[1])
