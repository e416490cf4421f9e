"""The node's socket, over real sockets and threads."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import socket
import stat
import subprocess
import sys
import time

import pytest

from serenity.daemon.lock import Taken
from serenity.estimator import node_server
from serenity.estimator.node_server import NodeServer
from serenity.estimator.provider_id import ProviderIdFile
from serenity.estimator.valve import LeaseError
from serenity.wire.messages import node
from serenity.wire.messages.kill_record import Candidate, Detector, Protected, Selection, Signal, Window
from tests.polling import eventually

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


def test_socket_and_folder_are_private(server, path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


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


# --- operators ---


def test_an_operator_moves_the_valve_and_is_told_who_holds_it(server, heard, peer):
    operator = peer(hello=None)
    lease = node.Lease(holder="operator ann", reason="disk", ttl_s=60.0)
    held = (node.HeldLease(holder="operator ann", reason="disk", ends_in_s=60.0),)
    answers = []
    for word in (node.Operator(pid=1), lease, node.Release(holder="bob"), node.Release(holder="operator ann")):
        operator.say(word)
        answers.append(operator.hear())
    assert answers == [
        node.Leases(leases=()),
        node.Leases(leases=held),
        node.Leases(leases=held, refused="bob has no lease on the valve"),
        node.Leases(leases=()),
    ]
    server.publish(node.encode_line(node.Sample(frame={"t": 1.0})))
    operator.say(node.Lease(holder="", reason="", ttl_s=1.0))
    assert operator.hear().refused == "a lease needs a holder"  # And no sample before it: it is no executor.
    assert server.executors == 0


def test_an_operator_runs_no_tasks(server, heard, peer):
    operator = peer(hello=None)
    operator.say(node.Operator(pid=1))
    assert operator.hear() == node.Leases(leases=())
    operator.say(node.Tasks(tasks=(TASK,)))
    assert operator.socket.recv(100) == b""
    assert heard.words == []


# --- accusations ---


def accuse(task):
    return node.Accuse(
        task_id=task,
        ttl_s=3.0,
        cause="llc",
        severity=0.5,
        protected_id="c1",
        protected=Protected(framework="web", executor="e", container="c1", task="api"),
        signal=Signal(name="CPI", unit="", observed=2.9, baseline=1.4, deviation=1.07, threshold=None),
        window=Window(start=1.0, end=2.0, samples=5, missing=1),
        detector=Detector(name="drop", parameters={}),
        selection=Selection(strategy="combined", candidates=(Candidate(task=task, score=0.9),)),
    )


@pytest.fixture
def executors(peer, heard):
    """Two that have been greeted: one that runs task t, and one that runs none."""
    owner = peer(node.Hello(framework_id="F", executor_id="E", container_id="owner", pid=1))
    other = peer(node.Hello(framework_id="G", executor_id="E", container_id="other", pid=2))
    for each in (owner, other):
        assert isinstance(each.hear(), node.Welcome) and isinstance(each.hear(), node.History)
    owner.say(node.Tasks(tasks=(TASK,)))
    eventually(lambda: heard.words)
    return owner, other


def test_an_accusation_goes_to_the_executor_that_runs_the_task_and_to_no_other(server, executors):
    owner, other = executors
    other.say(accuse("t"))
    assert owner.hear() == node.Accused(by="other", accusation=accuse("t"))
    server.publish(node.encode_line(node.Sample(frame={"t": 1.0})))
    assert isinstance(other.hear(), node.Sample)  # It has heard nothing before.


def test_who_accuses_what_nobody_else_runs_is_told_so(server, executors):
    owner, other = executors
    other.say(accuse("unknown"))
    assert other.hear() == node.Unowned(task_id="unknown")
    owner.say(accuse("t"))  # Its own.
    assert owner.hear() == node.Unowned(task_id="t")
    owner.close()
    eventually(lambda: server.executors == 1)
    other.say(accuse("t"))
    assert other.hear() == node.Unowned(task_id="t")


def test_accusations_do_not_crowd_out_samples(server, executors):
    owner, other = executors
    for _ in range(100):
        other.say(accuse("t"))
    other.say(node.Release(holder="E"))
    heard_of, line = 0, node.encode_line(node.Sample(frame={"t": 1.0}))
    server.publish(line)
    while not isinstance(owner.hear(), node.Sample):
        heard_of += 1
    assert 1 <= heard_of <= 16
    assert server.executors == 2


def test_nobody_accuses_before_a_hello(server, peer):
    stranger = peer(hello=None)
    stranger.say(accuse("t"))
    assert stranger.socket.recv(100) == b""


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can come as somebody else")
def test_another_user_is_shown_out_whatever_the_modes_of_files_say(server, path, caplog):
    path.chmod(0o666)
    for folder in path.parents:
        if folder.stat().st_mode & 0o001 == 0:
            folder.chmod(folder.stat().st_mode | 0o011)
    code = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(len(s.recv(10)))"
    said = subprocess.run(
        ["/usr/bin/env", "python3", "-S", "-c", code, str(path)],
        user=65534,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if "python3" in said.stderr and not said.stdout:
        pytest.skip("no Python here that others than root may run")
    assert said.stdout == "0\n", said.stderr
    assert "user 65534 came to the node's socket" in caplog.text


def test_stopping_leaves_no_socket_and_ends_the_connections(path, heard, peer):
    server = NodeServer(path, heard, lambda: None)
    server.start()
    executor = peer()
    assert isinstance(executor.hear(), node.Welcome)
    server.stop()
    assert not path.exists()
    with contextlib.suppress(ConnectionResetError):
        executor.lines.read()  # To its end, whatever was on its way.
    again = NodeServer(path, heard, lambda: None)
    again.stop()


def test_the_socket_of_a_dead_estimator_is_replaced(path, heard):
    path.parent.mkdir()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    server = NodeServer(path, heard, lambda: None)
    server.start()
    executor = Peer(path)
    assert isinstance(executor.hear(), node.Welcome)
    executor.close()
    server.stop()


def test_a_second_estimator_is_refused_and_told_who_is_there(server, path, heard):
    code = (
        "import sys\nfrom pathlib import Path\nfrom serenity.daemon.lock import FileLock, Taken\n"
        "try:\n    FileLock(Path(sys.argv[1]))\nexcept Taken as error:\n    print(error)"
    )
    lock = path.with_suffix(".lock")
    said = subprocess.run([sys.executable, "-c", code, str(lock)], capture_output=True, text=True, timeout=30)
    assert said.stdout == f"process {os.getpid()} holds {lock}\n"
    # The one that serves is still reachable.
    Peer(path).close()


def test_who_comes_while_it_stops_is_not_served(path, heard, monkeypatch):
    server = NodeServer(path, heard, lambda: None)
    trusted = node_server._trusted

    def stops(accepted):
        """In the middle of an accept by this server: a client of another test may still come back to its own."""
        if accepted.getsockname() == str(path):
            server.stop()
        return trusted(accepted)

    monkeypatch.setattr(node_server, "_trusted", stops)
    server.start()
    with socket.socket(socket.AF_UNIX) as late:
        late.settimeout(10.0)
        late.connect(str(path))
        assert late.recv(1) == b""


# --- the provider's id ---


def test_the_id_is_kept_and_locked(tmp_path):
    first = ProviderIdFile(tmp_path / "state", "agent-1")
    assert first.read() is None
    first.write("p-1")
    with pytest.raises(Taken):
        ProviderIdFile(tmp_path / "state", "agent-1")
    other_agent = ProviderIdFile(tmp_path / "state", "agent-2")
    assert other_agent.read() is None
    first.close()
    again = ProviderIdFile(tmp_path / "state", "agent-1")
    assert again.read() == "p-1"
    again.write("p-2")
    assert again.read() == "p-2"
    again.close()
    other_agent.close()


@pytest.mark.parametrize("content", [b"\xff\xfe", b"\0" * 37, b"", b"p 1", b"p" * 1000])
def test_an_id_that_makes_no_sense_is_set_aside_with_one_line(tmp_path, caplog, content):
    ids = ProviderIdFile(tmp_path, "agent-1")
    (tmp_path / "agent-1.provider").write_bytes(content)
    assert ids.read() is None
    (record,) = caplog.records
    assert record.levelname == "ERROR" and str(tmp_path / "agent-1.provider.broken") in record.getMessage()
    assert (tmp_path / "agent-1.provider.broken").read_bytes() == content
    assert ids.read() is None and len(caplog.records) == 1
    ids.write("p-1")
    assert ids.read() == "p-1"
    ids.close()


def test_the_sockets_folder_may_be_the_ids(path, heard):
    ids = ProviderIdFile(path.parent, path.stem)
    server = NodeServer(path, heard, lambda: None)
    with pytest.raises(Taken):
        ProviderIdFile(path.parent, path.stem)
    server.stop()
    ids.close()


def test_a_moment_without_free_files_does_not_end_the_listening(server, peer, monkeypatch):
    accept, refusals = socket.socket.accept, [OSError(errno.EMFILE, os.strerror(errno.EMFILE)) for _ in range(2)]

    def accept_later(listener):
        accepted = accept(listener)
        if refusals:
            accepted[0].close()
            raise refusals.pop()
        return accepted

    monkeypatch.setattr(socket.socket, "accept", accept_later)
    # The accept under way is not replaced: it takes the first.
    assert peer().hear().agent_id == "A"
    for _ in range(2):
        with contextlib.suppress(OSError):
            peer()
        time.sleep(0.05)
    eventually(lambda: not refusals)
    assert peer().hear().agent_id == "A"


def test_a_socket_that_cannot_be_made_is_named_and_leaves_no_lock(tmp_path, heard):
    path = tmp_path / ("x" * 120 + ".sock")
    with pytest.raises(OSError) as caught:
        NodeServer(path, heard, lambda: None)
    assert caught.value.filename == str(path) and list(tmp_path.iterdir()) == []
