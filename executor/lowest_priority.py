"""Rung 0: from its first instruction to its last a task has the CPU that nobody else wants.

In the task's cgroup here; of the processes' own share (SCHED_IDLE, nice, autogroup) `child`
takes care before the command runs.  It is never undone: cgroup and processes are the task's
own, and end with it.
"""

from __future__ import annotations

import os
from pathlib import Path

from serenity.executor.corrections.kernel_files import KernelFiles, Knob
from serenity.executor.tasks.cgroups import OwnedCgroup

_LEAST_SHARES, _LEAST_WEIGHT = "2", "1"
_KERNEL = KernelFiles()


def lower(cgroup: OwnedCgroup, kernel: KernelFiles = _KERNEL) -> None:
    """Idle where the kernel can (Linux 5.15), else with the least weight.  Raises OSError."""
    idle, weight = _knobs(cgroup)
    try:
        kernel.set(idle, "1")
    except OSError:
        kernel.set(weight, _LEAST_WEIGHT if cgroup.v2 else _LEAST_SHARES)


def in_force(pid: int, cgroup: OwnedCgroup | None, kernel: KernelFiles = _KERNEL, proc: Path = Path("/proc")) -> str:
    """What the kernel says of a running task, in words.  Raises OSError: the process is gone."""
    said = []
    if cgroup is not None:
        idle, weight = _knobs(cgroup)
        is_idle = idle.file.exists() and kernel.value(idle) == "1"
        said.append("cpu.idle" if is_idle else f"{weight.file.name} {kernel.value(weight)}")
    is_idle = os.sched_getscheduler(pid) == os.SCHED_IDLE
    said.append("SCHED_IDLE" if is_idle else f"nice {os.getpriority(os.PRIO_PROCESS, pid)}")
    autogroup = proc / str(pid) / "autogroup"
    if cgroup is None and autogroup.exists():  # Within a cgroup the kernel does not look at it.
        said.append(f"autogroup nice {autogroup.read_text().split()[-1]}")
    return ", ".join(said)


def _knobs(cgroup: OwnedCgroup) -> tuple[Knob, Knob]:
    return Knob(cgroup.folder / "cpu.idle"), Knob(cgroup.folder / ("cpu.weight" if cgroup.v2 else "cpu.shares"))
