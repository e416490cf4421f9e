"""Under gevent a sample shares its thread with the agent's stream."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
from gevent import monkey
monkey.patch_all()

import socket, threading, time
from serenity.daemon.clock import SystemClock
from serenity.qos.sources.agent_perf import AgentPerf
from serenity.qos.sources.node_usage import NodeUsage
from serenity.qos.sources.roster import Roster
from serenity.qos.sources.run_delay import RunDelay
from serenity.qos.sources.sampler import Sampler
from serenity.qos.sources.usage import Usage
from serenity.wire.mesos.state import AgentReader

agent, ours = socket.socketpair()
done = []

def stream():
    ours.recv(1)
    done.append("answered")

def busy(*_):
    until_s = time.monotonic() + 0.05
    while time.monotonic() < until_s:
        pass

def asked(*_):
    agent.send(b"!")

Usage.read, RunDelay.read, NodeUsage.read = asked, busy, busy
AgentPerf.read = lambda *_: done.append("two sources later")
threading.Thread(target=stream).start()
time.sleep(0.01)
clock = SystemClock()
sampler = Sampler(Roster(AgentReader("127.0.0.1:1"), clock), clock)
sampler.sample(0.0)
print(done)
"""


def test_what_comes_while_one_source_is_read_for_long_is_answered_before_the_next_but_one():
    shown = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == "['answered', 'two sources later']"


OF_ROWS = """
from gevent import monkey
monkey.patch_all()

import socket, threading, time
from serenity.daemon.clock import SystemClock
from serenity.qos.frame import PRODUCTION, Container
from serenity.qos.sources import usage
from serenity.qos.sources.draft import Draft, Faults, Row
from serenity.qos.sources.files import FileBudget, KeptFiles
from serenity.qos.sources.places import Place, Places
from serenity.qos.sources.processes import ProcessTable

agent, ours = socket.socketpair()
read = []

def stream():
    ours.recv(1)
    read.append("answered")

def two_milliseconds(self, i, *_):
    until_s = time.thread_time() + 0.002
    while time.thread_time() < until_s:
        pass
    read.append(i)
    return frozenset({"cpu", "rss_bytes", "io_bytes"})

Places.of = lambda *_: Place()
usage.Usage._by_cgroups = two_milliseconds
threading.Thread(target=stream).start()
time.sleep(0.01)
clock, faults, places = SystemClock(), Faults(), Places()
source = usage.Usage(clock, places, faults, KeptFiles(FileBudget()), residents=None)
agent.send(b"!")
rows = [Row(Container(str(i), PRODUCTION, "job", 1.0, 1.0, container=str(i)), 1) for i in range(40)]
source.read(Draft(rows, lambda: ProcessTable(())))
print(read.index("answered"), len(read))
"""


def test_of_a_source_with_many_rows_others_do_not_wait_for_the_last():
    """Each takes two milliseconds; a launch that waits for its answer is not to wait for all of a thousand."""
    shown = subprocess.run([sys.executable, "-c", OF_ROWS], capture_output=True, text=True, check=True, timeout=60)
    answered_after, read = map(int, shown.stdout.split())
    assert 1 <= answered_after <= 5 and read == 41  # In the second turn at the latest.


OF_PROCESSES = r"""
from gevent import monkey
monkey.patch_all()

import os, pathlib, socket, tempfile, threading, time
from serenity.daemon.clock import SystemClock
from serenity.qos.frame import BEST_EFFORT, Container
from serenity.qos.sources.draft import Draft, Faults, Row
from serenity.qos.sources.files import FileBudget, KeptFiles
from serenity.qos.sources.held_memory import HeldMemory
from serenity.qos.sources.places import Places
from serenity.qos.sources.processes import Process, ProcessTable
from serenity.qos.sources.residents import Residents
from serenity.qos.sources.turns import Turns
from serenity.qos.sources.usage import Usage

done = []

def slow(name, do):
    def three_milliseconds(*arguments):
        until_s = time.monotonic() + 0.003
        while time.monotonic() < until_s:
            pass
        done.append(name)
        return do(*arguments)
    return three_milliseconds

agent, ours = socket.socketpair()

def stream():
    while ours.recv(1):
        done.append("answered")

def asked(do):
    def and_do(*arguments):
        agent.send(b"!")
        return do(*arguments)
    return and_do

Process.parse = slow("stat", Process.parse)
KeptFiles.read = slow("io", KeptFiles.read)
HeldMemory._of_process = slow("smaps", lambda *_: 0.0)
Usage._io, HeldMemory.of, ProcessTable.look = map(asked, (Usage._io, HeldMemory.of, ProcessTable.look))

with tempfile.TemporaryDirectory() as folder:
    proc = pathlib.Path(folder)
    (proc / "self").mkdir()
    (proc / "self/mountinfo").write_text("")
    for pid in range(1, 21):
        (proc / str(pid)).mkdir()
        (proc / str(pid) / "cgroup").write_text("0::/\n")
        (proc / str(pid) / "io").write_text("read_bytes: 0\nwrite_bytes: 0\n")
        numbers = [str(min(pid - 1, 1)), "1", "1", *["0"] * 18, "9", *["0"] * 28]
        (proc / str(pid) / "stat").write_text(f"{pid} (a) S {' '.join(numbers)}\n")
    threading.Thread(target=stream, daemon=True).start()
    time.sleep(0.01)
    clock, faults, files, turns = SystemClock(), Faults(), KeptFiles(FileBudget()), Turns()
    places = Places(proc)
    source = Usage(clock, places, faults, files, Residents(clock, places, files, proc), proc)
    row = Row(Container("t", BEST_EFFORT, "job", 1.0, 1.0, container="c"), 1)
    source.read(Draft([row], lambda: ProcessTable.look(proc, turns), turns))
print(*done)
"""


def test_of_one_row_with_many_processes_others_do_not_wait_for_the_last():
    """They are found, and asked for what they read and for the memory that they hold; a launch comes in each."""
    shown = subprocess.run([sys.executable, "-c", OF_PROCESSES], capture_output=True, text=True, check=True, timeout=60)
    done = shown.stdout.split()
    for reading in ("stat", "io", "smaps"):
        first = done.index(reading)
        assert done[first:].index("answered") <= 3, f"{reading}: {done}"  # In the second turn at the latest.
        assert done.count(reading) == 20
