"""The socket itself: its making, who may come, and its end."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import subprocess
import sys
import time

import pytest

from serenity.daemon.lock import Taken
from serenity.estimator import node_server
from serenity.estimator.agent.provider_id import ProviderIdFile
from serenity.estimator.node_server import NodeServer
from serenity.wire.messages import node
from tests.estimator.node_server.conftest import Peer
from tests.polling import eventually


def test_socket_and_folder_are_private(server, path):
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


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
