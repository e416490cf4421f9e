"""A tree of real processes that burns CPU, with and without real cgroups of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serenity.executor.corrections.kernel_files import KernelFiles
from serenity.executor.corrections.originals import Originals
from serenity.executor.tasks import processes
from serenity.executor.tasks.cgroups import OwnedCgroup, TaskCgroups, find_hierarchies
from serenity.executor.tasks.trees import Trees
from tests.polling import eventually

BURN = "while True: pass"
NAME = f"test-{os.getpid()}"
HIERARCHIES = find_hierarchies()
NO_CGROUPS = TaskCgroups(HIERARCHIES, f"{NAME}-try").unavailable


@pytest.fixture
def burner() -> Iterator[subprocess.Popen[bytes]]:
    """A shell that waits for a child that burns CPU: a tree, not one process."""
    process = subprocess.Popen(["sh", "-c", f"{sys.executable} -S -c '{BURN}' & wait"], start_new_session=True)
    eventually(lambda: len(processes.with_descendants(process.pid)) == 2, "the burner has its child")
    yield process
    os.killpg(process.pid, signal.SIGKILL)
    os.killpg(process.pid, signal.SIGCONT)
    process.wait()


@pytest.fixture
def trees(burner: subprocess.Popen[bytes]) -> Trees:
    made = Trees()
    made.add("t1", burner.pid)
    return made


@pytest.fixture
def originals(tmp_path: Path) -> Iterator[Originals]:
    """On the real kernel."""
    made = Originals(tmp_path / "originals", NAME, KernelFiles())
    yield made
    made.end()


@pytest.fixture
def cgroup(burner: subprocess.Popen[bytes]) -> Iterator[OwnedCgroup]:
    """A real one for the burner, removed after the test; skips where there can be none."""
    if NO_CGROUPS is not None:
        pytest.skip(f"cgroups: {NO_CGROUPS}")
    made = TaskCgroups(HIERARCHIES, NAME).make()
    assert made is not None
    for member in processes.with_descendants(burner.pid):
        for file in made.procs_files:
            Path(file).write_text(str(member.process.pid))
    yield made
    os.killpg(burner.pid, signal.SIGKILL)
    made.thaw()
    burner.wait()
    eventually(made.remove, "the cgroup is removed")
    assert not [each for each in made.folders.values() if each.exists()]


def set_quota(cgroup: OwnedCgroup, cores: float) -> None:
    """As another writer does."""
    if cgroup.v2:
        (cgroup.folder / "cpu.max").write_text(f"{round(cores * 100_000)} 100000")
    else:
        (cgroup.folder / "cpu.cfs_quota_us").write_text(str(round(cores * 100_000)))


def quota_of(cgroup: OwnedCgroup) -> float | None:
    """Cores, as the kernel says; None: no limit."""
    if cgroup.v2:
        quota, period = (cgroup.folder / "cpu.max").read_text().split()
    else:
        quota = (cgroup.folder / "cpu.cfs_quota_us").read_text().strip()
        period = (cgroup.folder / "cpu.cfs_period_us").read_text()
    return None if quota in ("max", "-1") else int(quota) / int(period)


def cpu_s(pid: int) -> float:
    """CPU seconds of a tree."""
    ticks = 0
    for each in processes.with_descendants(pid):
        fields = Path(f"/proc/{each.process.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def cores_used(pid: int, for_s: float, turn: Callable[[], object] = lambda: None) -> float:
    before, began = cpu_s(pid), time.monotonic()
    while time.monotonic() - began < for_s:
        turn()
        time.sleep(0.002)
    return (cpu_s(pid) - before) / (time.monotonic() - began)


def states(pid: int) -> set[str]:
    return {each.state for each in processes.with_descendants(pid)}
