"""What best-effort without a memory cgroup holds of the machine's memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from serenity.daemon.clock import SystemClock
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container
from serenity.qos.sources.draft import Draft, Faults, Row
from serenity.qos.sources.files import FileBudget, KeptFiles
from serenity.qos.sources.held_memory import HeldMemory
from serenity.qos.sources.places import Places
from serenity.qos.sources.processes import PAGE_BYTES, Process, ProcessTable
from serenity.qos.sources.residents import Residents
from serenity.qos.sources.usage import Usage
from tests.manual_clock import ManualClock

MIB = 1 << 20
MAPS_A_FILE = """
import mmap, os, sys
file = os.open("file", os.O_RDWR | os.O_CREAT)
os.ftruncate(file, 200 << 20)
mapped = mmap.mmap(file, 200 << 20)
sum(mapped[i] for i in range(0, 200 << 20, 4096))
print("ready", flush=True)
sys.stdin.read()
"""
FORKS = """
import os, sys
held = bytearray(os.urandom(1 << 20) * 60)
for _ in range(4):
    if os.fork() == 0:
        break
else:
    print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path):
    started = []

    def start(code):
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", code], cwd=tmp_path, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == b"ready\n"
        return process.pid

    yield start
    for each in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(each.pid, signal.SIGKILL)
        each.communicate()


def rss_bytes(pid, role):
    clock, faults, places, files = SystemClock(), Faults(), Places(), KeptFiles(FileBudget())
    usage = Usage(clock, places, faults, files, Residents(clock, places, files))
    draft = Draft([Row(Container("c", role, "job", 1.0, 0.0, container="c"), pid)], ProcessTable.look)
    usage.read(draft)
    files.close()
    assert faults.counts == {}
    return draft.frame(0.0, None).column("rss_bytes")[0]


def test_a_mapped_file_is_not_held(start, tmp_path):
    pid = start(MAPS_A_FILE)
    with open(f"/proc/{pid}/status") as status:
        if next(int(line.split()[1]) for line in status if line.startswith("RssFile")) < 200 << 10:
            pytest.skip("the file system for temporary files is in memory")
    assert 1 * MIB < rss_bytes(pid, BEST_EFFORT) < 50 * MIB
    assert rss_bytes(pid, PRODUCTION) > 200 * MIB, "which is too much, and safe"


def test_what_forks_share_is_held_once(start):
    pid = start(FORKS)
    assert 60 * MIB < rss_bytes(pid, BEST_EFFORT) < 110 * MIB
    assert rss_bytes(pid, PRODUCTION) > 300 * MIB


ROLLUP = "0-1 ---p 0 00:00 0 [rollup]\nPss: 9 kB\nPss_Anon: {} kB\nPss_File: 9 kB\nPss_Shmem: 10 kB\nLazyFree: 4 kB\n"


class Costs:
    """Turns of a sample in which each look at what it has cost finds so much more."""

    each_s = 0.0
    _s = 0.0

    @property
    def cost_s(self):
        self._s += self.each_s
        return self._s

    def give(self):
        """There are no others."""


class Read:
    def __init__(self, proc):
        self.proc = proc
        self.clock = ManualClock()
        self.turns = Costs()
        self.faults = Faults()
        self.memory = HeldMemory(self.clock, self.faults, proc)

    def write(self, pid, **files):
        (self.proc / str(pid)).mkdir(exist_ok=True)
        for name, text in files.items():
            (self.proc / str(pid) / name).write_text(text)

    def kib(self, **rss_kib):
        members = [Process(int(pid[1:]), 1, 1, 0.0, 0.0, 0, rss * 1024) for pid, rss in rss_kib.items()]
        return self.memory.of("row", members, self.turns) / 1024


@pytest.fixture
def read(tmp_path):
    return Read(tmp_path)


def test_by_hand(read):
    read.write(1, smaps_rollup=ROLLUP.format(100))
    read.write(2, smaps_rollup=ROLLUP.format(50))
    assert read.kib(p1=500, p2=500, p3=500) == 106 + 56, "and the third has ended meanwhile"
    assert read.kib(p1=40, p2=50) == 90, "never more than is resident"


def test_a_long_reading_is_followed_by_a_pause_in_which_growth_waits_and_a_fall_does_not(read):
    read.turns.each_s = 0.025
    read.write(1, smaps_rollup=ROLLUP.format(1000))
    assert read.kib(p1=2000) == 1006
    read.write(1, smaps_rollup=ROLLUP.format(1500))
    read.clock.advance(2.4)
    assert read.kib(p1=2000) == 1006
    assert read.kib(p1=300) == 300
    read.clock.advance(0.1)
    assert read.kib(p1=2000) == 1506
    read.memory.keep([])
    read.write(1, smaps_rollup=ROLLUP.format(7))
    assert read.kib(p1=2000) == 13


@pytest.mark.parametrize("rollup", ["0-1 [rollup]\nPss: 9 kB\n", None])
def test_a_kernel_that_does_not_tell_shares(read, caplog, rollup):
    caplog.set_level("INFO")
    for pid in (1, 2):
        read.write(pid, statm="900 100 30 1 0 9 0\n", **({"smaps_rollup": rollup} if rollup else {}))
    assert read.kib(p1=10**6, p2=10**6) == 140 * PAGE_BYTES / 1024
    assert caplog.text.count("smaps_rollup") == 1
