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
    assert 2 <= answered_after <= 12 and read == 41  # In the second turn at the latest.
