"""Runs in the guest, whose kernel has the controllers on cgroup v2, as the machine beneath may not: tasks' cgroups."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from serenity.executor.tasks.cgroups import OwnedCgroup, TaskCgroups, find_hierarchies
from serenity.executor.tasks.guardian import leave_container
from serenity.executor.tasks.limits import TaskLimits
from serenity.wire.messages.reasons import Reason

MIB = 1 << 20
WITHIN_S = 10.0


def task_cgroups(hierarchy: Path) -> None:
    """`hierarchy`: where v2 is mounted, with nothing enabled yet.  Leaves it so."""
    enabled = hierarchy / "cgroup.subtree_control"
    assert "hands no cpu controller down" in str(TaskCgroups(find_hierarchies(), "c1").unavailable)
    enabled.write_text("+cpu +memory +pids")
    container = hierarchy / "mesos" / "c1" / "leaf"
    container.mkdir(parents=True)
    try:
        _the_kernel_holds_the_limits()
        (container / "cgroup.procs").write_text("0")
        _beside_a_mesos_container(hierarchy)
        _what_others_used_up(hierarchy)
    finally:
        leave_container("c1")
        for each in (container, *container.parents[:2]):
            each.rmdir()
        enabled.write_text("-cpu -memory -pids")


def _the_kernel_holds_the_limits() -> None:
    cgroup = _made()
    limits = TaskLimits(64 * MIB, 20, cgroup)
    limits.impose()
    assert _python(cgroup, "bytearray(90 << 20)") == -signal.SIGKILL
    breach, peak_bytes, cpu_s = limits.after_exit(), limits.peak_mem_bytes(), limits.cpu_s()
    assert breach is not None and breach.reason is Reason.MEMORY_LIMIT
    assert peak_bytes == 64 * MIB and cpu_s is not None and cpu_s > 0
    forks = "import os, time\ntry:\n for _ in range(40):\n  if not os.fork(): time.sleep(100)\n"
    assert _python(cgroup, forks + "except BlockingIOError: os._exit(7)") == 7
    (cgroup.folder / "cgroup.freeze").write_text("1")
    (cgroup.folder / "cgroup.kill").write_text("1")
    cgroup.thaw()
    assert (cgroup.folder / "cgroup.freeze").read_text() == "0\n"
    _remove(cgroup)


def _beside_a_mesos_container(hierarchy: Path) -> None:
    """Mesos takes what is below for its own; and what holds the guardian there would go with it."""
    cgroup = _made()
    assert cgroup.folder.parent == hierarchy
    assert (cgroup.folder / "cpu.weight").read_text() == "1\n"
    _remove(cgroup)
    assert "c1" in Path("/proc/self/cgroup").read_text()
    leave_container("c1")
    assert "c1" not in Path("/proc/self/cgroup").read_text()


def _what_others_used_up(hierarchy: Path) -> None:
    outer = OwnedCgroup("/outer", dict.fromkeys(("cpu", "memory"), hierarchy / "outer"), v2=True)
    outer.make()
    (outer.folder / "cgroup.subtree_control").write_text("+memory +cpu +pids")
    inner = OwnedCgroup("/outer/inner", dict.fromkeys(("cpu", "memory", "pids"), outer.folder / "inner"), v2=True)
    inner.make()
    TaskLimits(40 * MIB, 100, outer).impose()
    limits = TaskLimits(512 * MIB, 100, inner)
    limits.impose()
    assert _python(inner, "bytearray(60 << 20)") == -signal.SIGKILL
    breach = limits.after_exit()
    assert breach is not None and breach.reason is Reason.QOS_MEMORY
    _remove(inner)
    _remove(outer)


def _made() -> OwnedCgroup:
    cgroups = TaskCgroups(find_hierarchies(), "c1")
    assert cgroups.unavailable is None
    cgroup = cgroups.make()
    assert cgroup is not None
    return cgroup


def _python(cgroup: OwnedCgroup, code: str) -> int:
    """How it ended, in the cgroup."""
    joined = "".join(f"open({each!r}, 'w').write('0')\n" for each in cgroup.procs_files)
    return subprocess.run([sys.executable, "-S", "-c", joined + code], check=False).returncode


def _remove(cgroup: OwnedCgroup) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while not cgroup.remove():
        assert time.monotonic() < deadline_s, f"{cgroup.path} is still in use"
        time.sleep(0.05)
