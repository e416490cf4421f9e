"""Rung 0, as the kernel tells it."""

from __future__ import annotations

import errno
import os
import subprocess

import pytest

from serenity.executor.lowest_priority import in_force, lower
from tests.executor.actuators.made_up_kernel import MadeUpKernel, cgroup_v2


@pytest.mark.root
def test_what_is_in_force_on_a_real_task(burner, cgroup):
    before = in_force(burner.pid, cgroup)
    os.sched_setscheduler(burner.pid, os.SCHED_IDLE, os.sched_param(0))
    lower(cgroup)
    assert "SCHED_IDLE" not in before
    assert in_force(burner.pid, cgroup) in ("cpu.idle, SCHED_IDLE", "cpu.shares 2, SCHED_IDLE")


def test_without_a_cgroup_it_is_the_processes_own(burner):
    os.setpriority(os.PRIO_PROCESS, burner.pid, 19)
    assert in_force(burner.pid, None).startswith("nice 19")


def test_where_the_kernel_knows_no_idle_cgroups_it_has_the_least_weight(tmp_path):
    kernel, cgroup = MadeUpKernel(), cgroup_v2(tmp_path / "t1")
    (tmp_path / "t1/cpu.weight").write_text("100\n")
    kernel.refuses["cpu.idle"] = errno.EINVAL
    lower(cgroup, kernel)
    assert in_force(os.getpid(), cgroup, kernel).startswith("cpu.weight 1, ")


def test_a_task_that_has_ended():
    process = subprocess.Popen(["true"])
    process.wait()
    with pytest.raises(ProcessLookupError):
        in_force(process.pid, None)
