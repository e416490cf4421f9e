"""What executors are told, and what is heard of them."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time

import pytest

from serenity.wire.messages import node
from tests.estimator.node_server.conftest import TASK
from tests.polling import eventually


def test_a_conversation(server, heard, peer):
    executor = peer()
    assert isinstance(executor.hear(), node.Welcome)
    assert isinstance(executor.hear(), node.History)
    eventually(lambda: server.executors == 1)
    tasks = node.Tasks(tasks=(TASK,))
    lease = node.Lease(holder="E", reason="contention", ttl_s=5.0)
    for message in (tasks, lease, node.Release(holder="E")):
        executor.say(message)
    eventually(lambda: len(heard.words) == 3)
    assert heard.words == [("C", tasks), lease, node.Release(holder="E")]
    sample = node.Sample(frame={"t": 1.0})
    server.publish(node.encode_line(sample))
    assert executor.hear() == sample
    executor.close()
    eventually(lambda: heard.words[-1] == ("C", "gone"))
    eventually(lambda: server.executors == 0)


@pytest.mark.parametrize(
    "words",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b'{"type":"lease","holder":"x","reason":"","ttl_s":5}\n',  # No hello first.
        b'{"type":"hello","framework_id":"F","executor_id":"E","container_id":"C","pid":1,"protocol":99}\n',
        b'{"type":"operator","pid":1,"protocol":99}\n',
    ],
)
def test_who_does_not_speak_the_protocol_is_shown_out(server, heard, peer, words):
    stranger, executor = peer(hello=None), peer()
    stranger.socket.sendall(words)
    assert stranger.socket.recv(100) == b""
    assert isinstance(executor.hear(), node.Welcome)
    assert heard.words == []


def test_messages_of_a_later_version_are_ignored(server, heard, peer):
    executor = peer()
    executor.socket.sendall(b'{"type":"gossip","about":"nobody"}\n')
    executor.say(node.Release(holder="E"))
    eventually(lambda: heard.words)
    assert heard.words == [node.Release(holder="E")]


def test_who_does_not_read_is_dropped_and_the_others_notice_nothing(server, heard, peer, dropped):
    sleeping = peer()
    awake = peer(node.Hello(framework_id="F", executor_id="E2", container_id="C2", pid=2))
    eventually(lambda: server.executors == 2)
    assert isinstance(awake.hear(), node.Welcome)
    assert isinstance(awake.hear(), node.History)
    line = node.encode_line(node.Sample(frame={"t": 1.0, "filler": "x" * 100_000}))
    slowest_s = 0.0
    for _ in range(40):
        before_s = time.monotonic()
        server.publish(line)
        slowest_s = max(slowest_s, time.monotonic() - before_s)
        assert isinstance(awake.hear(), node.Sample)
    assert slowest_s < 2.0  # A blocking send to who does not read would never come back.
    assert dropped == [1]
    assert server.executors == 1
    eventually(lambda: ("C", "gone") in heard.words)
    sleeping.close()


def test_an_executor_that_comes_back_before_its_old_connection_is_gone(server, heard, peer):
    old = peer()
    assert isinstance(old.hear(), node.Welcome)
    new = peer()
    assert isinstance(new.hear(), node.Welcome)
    new.say(node.Tasks(tasks=(TASK,)))
    eventually(lambda: len(heard.words) == 1)
    old.close()
    eventually(lambda: server.executors == 1)
    new.say(node.Release(holder="E"))
    eventually(lambda: len(heard.words) == 2)
    assert ("C", "gone") not in heard.words


def test_who_dies_in_the_middle_of_a_line_costs_nobody_else_anything(server, heard, peer, dropped):
    awake = peer(node.Hello(framework_id="F", executor_id="E2", container_id="C2", pid=2))
    assert isinstance(awake.hear(), node.Welcome) and isinstance(awake.hear(), node.History)
    line = node.encode_line(node.Sample(frame={"t": 1.0, "filler": "x" * 1_000_000}))
    for number in range(3):
        dying = peer(node.Hello(framework_id="F", executor_id="E", container_id=f"D{number}", pid=1))
        eventually(lambda: server.executors == 2)
        server.publish(line)  # More than the socket takes: its writer is in the middle of it.
        dying.socket.sendall(b'{"type":"tasks","tas')
        dying.close()
        assert isinstance(awake.hear(), node.Sample)
        eventually(lambda: server.executors == 1)
    assert [words for words in heard.words if words[1] == "gone"] == [(f"D{number}", "gone") for number in range(3)]
    assert dropped == []


HISTORY = """
from gevent import monkey
monkey.patch_all()
import json, os, socket, sys, threading
from pathlib import Path
from serenity.estimator.node_server import NodeServer
from serenity.wire.messages import node

agent, ours = socket.socketpair()
found = []

class Node:
    def greeting(self):
        for _ in range(20):
            found.append("line")
            agent.send(b"!")
            yield b'{"type":"history","frames":[]}\\n'

    def gone(self, hello):
        pass

def stream():
    while ours.recv(1):
        found.append("answered")

threading.Thread(target=stream, daemon=True).start()
server = NodeServer(Path(sys.argv[1]), Node(), lambda: None)
server.start()
executor = socket.socket(socket.AF_UNIX)
executor.connect(sys.argv[1])
executor.sendall(node.encode_line(node.Hello(framework_id="F", executor_id="E", container_id="C", pid=1)))
with executor.makefile("rb") as lines:
    for _ in range(20):
        lines.readline()
while len(found) < 40:
    threading.Event().wait(0.01)
print(json.dumps(found))
server.stop()
"""


def test_a_launch_waits_for_some_lines_of_a_history_at_most(path):
    path.parent.mkdir()
    shown = subprocess.run(
        [sys.executable, "-c", HISTORY, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert shown.returncode == 0, shown.stderr
    behind = itertools.accumulate(1 if each == "line" else -1 for each in json.loads(shown.stdout))
    assert max(behind) <= 3
