"""The node's socket, over real sockets and threads: who serves it, and who comes."""

from __future__ import annotations

import socket

import pytest

from serenity.estimator.account.valve import LeaseError
from serenity.estimator.node_server import NodeServer
from serenity.wire.messages import node

HELLO = node.Hello(framework_id="F", executor_id="E", container_id="C", pid=1)
TASK = node.TaskOnNode(task_id="t", job="j", pid=2, cpus=1.0, mem_bytes=1, started_at=0.0)


class Heard:
    """A node that notes what it hears."""

    def __init__(self):
        self.words = []
        self.held = ()

    def greeting(self):
        welcome = node.Welcome(agent_id="A", hostname="h", interval_s=1.0)
        return iter((node.encode_line(welcome), b'{"type":"history","frames":[]}\n'))

    def tasks(self, hello, tasks):
        self.words.append((hello.container_id, tasks))

    def gone(self, hello):
        self.words.append((hello.container_id, "gone"))

    def lease(self, lease):
        if not lease.holder:
            raise LeaseError("a lease needs a holder")
        self.words.append(lease)
        self.held = (node.HeldLease(holder=lease.holder, reason=lease.reason, ends_in_s=lease.ttl_s),)

    def release(self, release):
        self.words.append(release)
        held, self.held = self.held, tuple(each for each in self.held if each.holder != release.holder)
        return held != self.held

    def holders(self):
        return node.Leases(leases=self.held)


@pytest.fixture
def heard():
    return Heard()


@pytest.fixture
def dropped():
    return []


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "agent-1.sock"


@pytest.fixture
def server(path, heard, dropped):
    made = NodeServer(path, heard, lambda: dropped.append(1))
    made.start()
    yield made
    made.stop()


class Peer:
    def __init__(self, path, hello=HELLO):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(10.0)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rb")
        if hello is not None:
            self.say(hello)

    def say(self, message):
        self.socket.sendall(node.encode_line(message))

    def hear(self):
        return node.decode_to_executor(self.lines.readline())

    def close(self):
        self.lines.close()
        self.socket.close()


@pytest.fixture
def peer(path):
    peers = []

    def connect(hello=HELLO):
        peers.append(Peer(path, hello))
        return peers[-1]

    yield connect
    for each in peers:
        each.close()
