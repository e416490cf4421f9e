"""What is read of real processes and real cgroups."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from serenity.daemon.clock import SystemClock
from serenity.qos.frame import PRODUCTION, Container
from serenity.qos.sources import meters, pressure
from serenity.qos.sources.cgroups import V2
from serenity.qos.sources.draft import Draft, Faults, Row
from serenity.qos.sources.files import FileBudget, KeptFiles
from serenity.qos.sources.places import Places
from serenity.qos.sources.processes import ProcessTable
from serenity.qos.sources.residents import Residents
from serenity.qos.sources.usage import Usage

GROWS = """
import os
file = os.open("out", os.O_CREAT | os.O_WRONLY)
while True:
    os.ftruncate(file, 0)
    for i in range(400):
        os.pwrite(file, bytes(65536), i * 65536)
"""


def test_what_processes_without_a_cgroup_write(tmp_path):
    writer = subprocess.Popen([sys.executable, "-S", "-c", GROWS], cwd=tmp_path)
    try:
        row = Row(Container("w", PRODUCTION, "w", 1.0, 0.0, container="w"), writer.pid)
        clock, faults, places, files = SystemClock(), Faults(), Places(), KeptFiles(FileBudget())
        usage = Usage(clock, places, faults, files, Residents(clock, places, files))
        deadline, seen = time.monotonic() + 10, [0.0]
        while len(seen) < 4 or max(seen) == 0:
            draft = Draft([row], ProcessTable.look)
            usage.read(draft)
            seen += [value for value in draft.frame(0.0, None).column("io_bytes") if math.isfinite(value)]
            if "\nwrite_bytes: 0\n" in Path(f"/proc/{writer.pid}/io").read_text() and time.monotonic() > deadline - 5:
                pytest.skip("the file system for temporary files is in memory")
            assert time.monotonic() < deadline, seen
            time.sleep(0.05)
        assert faults.counts == {}
    finally:
        writer.send_signal(signal.SIGKILL)
        writer.wait()


@pytest.mark.root
def test_a_real_v2_cgroup_with_a_nested_one():
    point = Places().mounts.points.get(V2)
    if point is None or os.geteuid() != 0:
        pytest.skip("needs root and a v2 hierarchy")
    container = str(uuid.uuid4())
    folder = point[0] / container
    nested = folder / "mesos/nested"
    nested.mkdir(parents=True)
    started = []
    try:
        for each in (folder, nested):
            started.append(subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]))
            (each / "cgroup.procs").write_text(str(started[-1].pid))
        # A hybrid machine's v1 controllers have them elsewhere: only what v2 tells is looked at.
        row = Row(Container(container, PRODUCTION, "w", 1.0, 0.0, container=container), started[1].pid)
        clock, faults, places, files = SystemClock(), Faults(), Places(), KeptFiles(FileBudget())
        residents = Residents(clock, places, files)
        usage = Usage(clock, places, faults, files, residents)
        looks = []
        for _ in range(2):
            draft = Draft([row], ProcessTable.look)
            looks.append(look(folder))
            usage.read(draft)
            looks.append(look(folder))
            time.sleep(0.3)
        frame = draft.frame(0.0, None)
        assert places.of(row, draft).cgroup.folders[V2] == folder
        assert sorted(residents.pids(row, draft)) == sorted(each.pid for each in started)
        # Each reading lies between two looks, which on a busy machine are far apart.
        (t0, *first), (t1, *second), (t2, *third), (t3, *fourth) = looks
        for i, column in enumerate(("cpu", "psi_cpu")):
            if math.isfinite(fourth[i]):
                least, most = (third[i] - second[i]) / (t3 - t0), (fourth[i] - first[i]) / (t2 - t1)
                assert least - 1e-6 <= frame.column(column)[0] <= most + 1e-6, column
        assert fourth[0] > first[0]
        assert faults.counts == {}
    finally:
        for each in started:
            each.kill()
            each.wait()
        deadline = time.monotonic() + 10
        for each in (nested, nested.parent, folder):
            while each.exists():
                try:
                    each.rmdir()
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.02)


def look(folder):
    """Of a v2 cgroup, in s: when, the CPU time that it has used, and that it has waited for."""
    used_s = meters.field(b"usage_usec", 1e-6)((folder / "cpu.stat").read_bytes())
    waited = folder / "cpu.pressure"
    return time.monotonic(), used_s, pressure.stalled_s(waited.read_bytes()) if waited.exists() else math.nan
