"""The node's socket, the estimator's side (protocol: `serenity.wire.messages.node`).

One reader and one writer a connection.  What an executor does not read is queued for a few
samples and no more: then its connection is dropped, and the sampling has not noticed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import msgspec

from serenity.daemon.lock import FileLock
from serenity.daemon.serving import peer_uid
from serenity.estimator.account.valve import LeaseError
from serenity.wire.messages import node

logger = logging.getLogger(__name__)

# Pause between the lines of a history, which may total 100 MB, so that other connections get a turn.
_TURN_S = 5e-4
# Samples that wait for a slow reader: what it may sleep through before it must start anew.
_QUEUED_LINES = 16
_HELLO_TIMEOUT_S = 10.0
_ACCEPT_AGAIN_S = 0.2
# An executor says one at each tick for each contention; what is beyond would only crowd out samples.
_ACCUSATIONS_A_SECOND = 8


class Node(Protocol):
    """What executors and operators say, as it comes.  Called in the connection's thread."""

    def greeting(self) -> Iterator[bytes]:
        """The lines that a new executor gets, of what there is now: Welcome and History."""

    def tasks(self, hello: node.Hello, tasks: node.Tasks) -> None: ...
    def gone(self, hello: node.Hello) -> None:
        """The executor's connection has ended, and it has no other."""

    def lease(self, lease: node.Lease) -> None:
        """Raises LeaseError."""

    def release(self, release: node.Release) -> bool:
        """Whether that holder had a lease."""

    def holders(self) -> node.Leases:
        """Who holds the valve."""


class NodeServer:
    """Serves `path` until `stop`.  Holds a lock beside it, so that a socket found there is a dead one's.

    Raises:
        Taken: another estimator serves this agent.
        OSError: the folder or socket cannot be made.
    """

    def __init__(self, path: Path, node_: Node, dropped: Callable[[], None]) -> None:
        self._path = path
        self._node = node_
        self._dropped = dropped
        self._connections: set[_Connection] = set()
        self._speaker: dict[str, _Connection] = {}  # By container: who declares its tasks.
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = FileLock(path.with_suffix(".lock"))
        try:
            self._listener = self._listen()
        except OSError:
            self._lock.release()
            raise
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._accept, name="node socket", daemon=True)

    def _listen(self) -> socket.socket:
        self._path.unlink(missing_ok=True)  # A stale one: we have the lock.
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)  # Nobody may connect between bind and a chmod.
        try:
            listener.bind(str(self._path))
        except OSError as error:
            error.filename = str(self._path)  # A socket does not say it: as on a disk that is full.
            listener.close()
            raise
        finally:
            os.umask(mask)
        listener.listen(16)
        return listener

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._connections):
            each.close()
        self._path.unlink(missing_ok=True)
        self._lock.release()

    @property
    def executors(self) -> int:
        return sum(each.hello is not None for each in self._connections)

    def publish(self, line: bytes) -> None:
        """Sends a line to every executor that has said hello.  Never waits."""
        for each in list(self._connections):
            if each.hello is not None and not each.send(line):
                logger.warning("executor %s does not read; its connection is dropped", each.hello.executor_id)
                self._dropped()
                self._connections.discard(each)  # Now, not when its reader has noticed: it is dropped once.
                each.close()

    def _accept(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError as error:
                if self._stopping.is_set():
                    return
                # Out of files or memory, which passes.
                logger.error("no executor can come to the node's socket just now: %s", error)
                self._stopping.wait(_ACCEPT_AGAIN_S)
                continue
            if not _trusted(accepted):
                accepted.close()
                continue
            connection = _Connection(accepted)
            self._connections.add(connection)
            if self._stopping.is_set():  # It came too late for `stop` to see it.
                connection.close()
                return
            threading.Thread(target=self._serve, args=(connection,), name="executor", daemon=True).start()

    def _serve(self, connection: _Connection) -> None:
        try:
            for line in connection.lines():
                message = node.decode_to_estimator(line)
                if message is not None:
                    self._take(connection, message)
        except node.NodeProtocolError as error:
            logger.warning("a connection to the node's socket is closed: %s", error)
        except OSError as error:
            logger.debug("a connection to the node's socket ended: %s", error)
        finally:
            connection.close()
            self._connections.discard(connection)
            hello = connection.hello
            # An executor that has connected anew speaks for itself already.
            if hello is not None and self._speaker.get(hello.container_id) is connection:
                del self._speaker[hello.container_id]
                logger.info("executor %s has left the node's socket", hello.executor_id)
                self._node.gone(hello)

    def _take(self, connection: _Connection, message: node.ToEstimator) -> None:
        if isinstance(message, node.Hello | node.Operator) and message.protocol != node.PROTOCOL:
            raise node.NodeProtocolError(f"protocol {message.protocol}; this estimator speaks {node.PROTOCOL}")
        if isinstance(message, node.Hello):
            logger.info("executor %s (process %d) is on the node's socket", message.executor_id, message.pid)
            # Before the greeting: one who has heard it and connects anew must come after this connection.
            self._speaker[message.container_id] = connection
            connection.send_each(self._node.greeting())
            connection.greeted(message)
        elif isinstance(message, node.Operator):
            connection.of_operator = True
            connection.send(node.encode_line(self._node.holders()))
        elif connection.of_operator:
            refused = self._move_valve(message)
            connection.send(node.encode_line(msgspec.structs.replace(self._node.holders(), refused=refused)))
        elif connection.hello is None:
            raise node.NodeProtocolError("it did not say hello first")
        elif isinstance(message, node.Tasks):
            connection.tasks = frozenset(each.task_id for each in message.tasks)
            self._node.tasks(connection.hello, message)
        elif isinstance(message, node.Accuse):
            self._pass_on(message, connection, connection.hello)
        else:
            self._move_valve(message)

    def _move_valve(self, message: node.ToEstimator) -> str:
        """Why that word was not followed; empty where it was."""
        if isinstance(message, node.Release):
            return "" if self._node.release(message) else f"{message.holder} has no lease on the valve"
        if not isinstance(message, node.Lease):
            raise node.NodeProtocolError(f"a {type(message).__name__} from who is no executor")
        try:
            self._node.lease(message)
        except LeaseError as error:
            logger.warning("a lease on the valve was refused: %s", error)
            return str(error)
        return ""

    def _pass_on(self, accuse: node.Accuse, accuser: _Connection, hello: node.Hello) -> None:
        """To the executor that runs the accused task; to that alone, and it decides."""
        if not accuser.may_accuse():
            return
        speakers = [each for each in list(self._speaker.values()) if each is not accuser]
        owner = next((each for each in speakers if accuse.task_id in each.tasks), None)
        if owner is not None:
            owner.send(node.encode_line(node.Accused(by=hello.container_id, accusation=accuse)))
        else:
            accuser.send(node.encode_line(node.Unowned(task_id=accuse.task_id)))


def _trusted(accepted: socket.socket) -> bool:
    """Who may have tasks stopped is root, or who runs the estimator.  The modes of files say so too; folders move."""
    uid = peer_uid(accepted)
    if uid in (0, os.geteuid()):
        return True
    logger.warning("user %s came to the node's socket, which is not theirs", uid)
    return False


class _Connection:
    def __init__(self, accepted: socket.socket) -> None:
        self.hello: node.Hello | None = None
        self.of_operator = False
        self.tasks: frozenset[str] = frozenset()  # That it has declared.
        self._accused_s: list[float] = []  # When it accused in the last second.
        self._socket = accepted
        self._socket.settimeout(_HELLO_TIMEOUT_S)
        self._queue: queue.Queue[Iterator[bytes] | None] = queue.Queue(_QUEUED_LINES)
        threading.Thread(target=self._write, name="executor writer", daemon=True).start()

    def greeted(self, hello: node.Hello) -> None:
        self.hello = hello
        self._socket.settimeout(None)

    def may_accuse(self) -> bool:
        now_s = time.monotonic()
        self._accused_s = [each for each in self._accused_s if each > now_s - 1.0]
        if len(self._accused_s) >= _ACCUSATIONS_A_SECOND:
            return False
        self._accused_s.append(now_s)
        return True

    def lines(self) -> Iterator[bytes]:
        reader = node.LineReader()
        while chunk := self._socket.recv(65536):
            yield from reader.feed(chunk)

    def send(self, line: bytes) -> bool:
        """False: too much is waiting already."""
        return self.send_each(iter((line,)))

    def send_each(self, lines: Iterator[bytes]) -> bool:
        """As `send`.  Each is asked for when the one before is sent, and others had their turn."""
        try:
            self._queue.put_nowait(lines)
        except queue.Full:
            return False
        return True

    def close(self) -> None:
        """Ends reader and writer.  May be called twice."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with contextlib.suppress(queue.Full):  # Then the writer is in a send, which the shutdown has ended.
            self._queue.put_nowait(None)

    def _write(self) -> None:
        while (lines := self._queue.get()) is not None:
            try:
                self._socket.sendall(next(lines))
                for line in lines:
                    time.sleep(_TURN_S)
                    self._socket.sendall(line)
            except OSError:
                return  # The reader sees the same end, and tidies up.
