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
