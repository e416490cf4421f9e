"""The real system calls, with software events on real cgroups.  On a PMU: `make test-pmu`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serenity.daemon.clock import SystemClock
from serenity.qos.frame import PRODUCTION, Container
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
    """A v1 perf_event hierarchy, for as long as the test lasts."""
    folder.mkdir()
    mount = ["mount", "-t", "cgroup", "-o", "perf_event", "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a v1 perf_event hierarchy cannot be mounted here")
    try:
        yield folder
    finally:
        # Removed cgroups are released later; while one is left, a hierarchy outlives its mount, and v2 is without perf.
        until(lambda: perf_hierarchy()[1] == "1")
        subprocess.run(["umount", folder], check=True)
        until(lambda: perf_hierarchy()[0] == "0")


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
        for name, code in zip(names, ("while True: pass", "import time; time.sleep(60)"), strict=True):
            (hierarchy / name).mkdir()
            started.append(subprocess.Popen([sys.executable, "-S", "-c", code]))
            (hierarchy / name / "cgroup.procs").write_text(str(started[-1].pid))
            rows.append(Row(Container(name, PRODUCTION, name, 1.0, 0.0, container=name), started[-1].pid))
        sample = lambda: Draft(rows, lambda: ProcessTable(()))  # noqa: E731
        seen = [look(started[0].pid)]
        made.read(sample())
        seen.append(look(started[0].pid))
        time.sleep(0.5)
        seen.append(look(started[0].pid))
        second = sample()
        made.read(second)
        seen.append(look(started[0].pid))
        (u0, t0), (u1, t1), (u2, t2), (u3, t3) = seen
        frame = second.frame(0.0, node=None)
        # Each read lies somewhere between two looks, which on a busy machine are far apart.
        assert (u2 - u1) / (t3 - t0) - 0.05 <= frame.column("cycles")[0] / 1e9 <= (u3 - u0) / (t2 - t1) + 0.05
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


def look(pid):
    """CPU time used, and when; both in s."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9, time.monotonic()


def remove(folder):
    deadline = time.monotonic() + 10
    while folder.exists():
        try:
            folder.rmdir()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
