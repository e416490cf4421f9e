"""The real system calls, with software events on real cgroups.  On a PMU: `make test-pmu`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from serenity.daemon.clock import SystemClock
from serenity.executor.tasks.cgroups import TaskCgroups, find_hierarchies
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container
from serenity.qos.sources.cgroups import V2
from serenity.qos.sources.counters import Counters
from serenity.qos.sources.draft import Draft, Faults, Row
from serenity.qos.sources.files import FileBudget
from serenity.qos.sources.perf_encoding import GENERIC, generic
from serenity.qos.sources.perf_event import Group, LinuxKernel
from serenity.qos.sources.places import Places
from serenity.qos.sources.processes import ProcessTable

SOFTWARE = {"cycles": ("task-clock",), "instructions": ("context-switches",)}


def kernel_counts():
    try:
        Group.of_cpu(LinuxKernel(), [GENERIC["task-clock"]], 0).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def mounted_v1(folder):
    """A v1 perf_event hierarchy, for as long as the test lasts.

    In a mount namespace of our own: executors of other tests would make cgroups in it.
    """
    folder.mkdir()
    with own_mounts():
        mount = ["mount", "-t", "cgroup", "-o", "perf_event", "none", str(folder)]
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("a v1 perf_event hierarchy cannot be mounted here")
        try:
            yield folder
        finally:
            # Removed cgroups are released later; while one is left, a hierarchy outlives its mount, and v2 is
            # without perf.
            until(lambda: perf_hierarchy()[1] == "1")
            subprocess.run(["umount", folder], check=True)
            until(lambda: perf_hierarchy()[0] == "0")


@contextlib.contextmanager
def own_mounts():
    """What this process mounts meanwhile only it and its children see (unshare(2), setns(2))."""
    libc, new_mounts = ctypes.CDLL(None), 0x2_0000
    before, folder = os.open("/proc/self/ns/mnt", os.O_RDONLY), Path.cwd()
    try:
        if libc.unshare(new_mounts) != 0:
            pytest.skip("no mount namespace of our own here")
        try:
            subprocess.run(["mount", "--make-rprivate", "/"], check=True)
            yield
        finally:
            assert libc.setns(before, new_mounts) == 0
            os.chdir(folder)
    finally:
        os.close(before)


def perf_hierarchy():
    """Its number, 0 for v2, and how many cgroups it has."""
    (line,) = [line for line in Path("/proc/cgroups").read_text().splitlines() if line.startswith("perf_event")]
    return line.split()[1:3]


def until(holds):
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(params=["v2", "v1"])
def hierarchy(request, tmp_path):
    if os.geteuid() != 0 or not kernel_counts():
        pytest.skip("needs root and a kernel with perf events")
    if request.param == "v1":
        if "perf_event" in Places().mounts.points:
            yield Places().mounts.points["perf_event"][0]
            return
        with mounted_v1(tmp_path / "perf_event") as folder:
            yield folder
    elif V2 not in Places().mounts.points or "perf_event" in Places().mounts.points:
        pytest.skip("perf events are not in a v2 hierarchy here")
    else:
        yield Places().mounts.points[V2][0]


@pytest.mark.root
def test_two_real_cgroups(hierarchy):
    """task-clock is the CPU time itself: one burns, one sleeps."""
    clock, faults, places = SystemClock(), Faults(), Places()
    made = Counters(clock, places, faults, FileBudget(), wanted=SOFTWARE, encode=generic)
    names = [f"serenity-test-{os.getpid()}-{each}" for each in ("busy", "idle")]
    started = []
    try:
        rows = []
        busy, idle = (sys.executable, "-S", "-c", "while True: pass"), ("sleep", "60")
        for name, command in zip(names, (busy, idle), strict=True):
            (hierarchy / name).mkdir()
            started.append(subprocess.Popen(command))
            (hierarchy / name / "cgroup.procs").write_text(str(started[-1].pid))
            rows.append(Row(Container(name, PRODUCTION, name, 1.0, 0.0, container=name), started[-1].pid))
        sample = lambda: Draft(rows, lambda: ProcessTable(()))  # noqa: E731
        frame = counted_half_a_second(made, rows, started[0].pid)
        assert frame.column("cycles")[1] / 1e9 < 0.1
        assert frame.readings["perf_running"] == 1.0
        assert faults.counts == {}
        # The cgroup goes away, the other stays.
        started[0].kill()
        started[0].wait()
        remove(hierarchy / names[0])
        made.read(sample())
        made.keep([names[1]])
        last = Draft(rows[1:], lambda: ProcessTable(()))
        made.read(last)
        assert last.frame(0.0, node=None).column("cycles")[0] / 1e9 < 0.1
    finally:
        made.close()
        for each in started:
            each.kill()
            each.wait()
        for name in names:
            remove(hierarchy / name)


@pytest.mark.root
def test_a_best_effort_task_on_v1(tmp_path):
    """Mesos makes no cgroup for it, with whatever isolation: the executor does, in perf_event, too."""
    if os.geteuid() != 0 or not kernel_counts():
        pytest.skip("needs root and a kernel with perf events")
    there = "perf_event" in Places().mounts.points
    with contextlib.nullcontext() if there else mounted_v1(tmp_path / "perf_event"):
        hierarchies = find_hierarchies()
        if hierarchies is None or hierarchies.v2:
            pytest.skip("the cpu controller is not in a v1 hierarchy here")
        cgroup = TaskCgroups(hierarchies, f"test-{os.getpid()}").make()
        assert cgroup is not None
        faults, places = Faults(), Places()
        made = Counters(SystemClock(), places, faults, FileBudget(), wanted=SOFTWARE, encode=generic)
        task = subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"])
        try:
            for each in cgroup.procs_files:
                Path(each).write_text(str(task.pid))
            row = Row(Container("t", BEST_EFFORT, "t", 0.5, 0.0, container="c"), task.pid, cgroup=cgroup.path)
            assert counted_half_a_second(made, [row], task.pid).column("cycles")[0] > 0.0
            assert faults.counts == {}
        finally:
            made.close()
            task.kill()
            task.wait()
            until(cgroup.remove)


def counted_half_a_second(made, rows, pid):
    """The frame after it.  Of the first row, which `pid` leads, the counted CPU time is checked."""
    first, second = (Draft(rows, lambda: ProcessTable(())) for _ in range(2))
    seen = [look(pid)]
    made.read(first)
    seen.append(look(pid))
    time.sleep(0.5)
    seen.append(look(pid))
    made.read(second)
    seen.append(look(pid))
    (u0, t0, s0), (u1, t1, _), (u2, t2, _), (u3, t3, s3) = seen
    frame = second.frame(0.0, node=None)
    # Each read lies somewhere between two looks, which on a busy machine are far apart; and task-clock goes on while
    # the hypervisor has taken the CPU away, which the scheduler does not count.
    assert (u2 - u1) / (t3 - t0) - 0.05 <= frame.column("cycles")[0] / 1e9 <= (u3 - u0 + s3 - s0) / (t2 - t1) + 0.05
    return frame


def look(pid):
    """CPU time used, when, and how long the hypervisor has kept CPUs to itself since boot; all in s."""
    used_s = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    return used_s, time.monotonic(), psutil.cpu_times().steal


def remove(folder):
    deadline = time.monotonic() + 10
    while folder.exists():
        try:
            folder.rmdir()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
