"""The network between a daemon and Mesos, as a TCP line that a test can break.

The same on every Mesos: what is cut, refused or held back here never depends on who answers.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from serenity.framework.mesos.task_info import DEFAULT_EXECUTOR_COMMAND
from serenity.localmesos.cluster.cluster import Cluster

_SUBSCRIBE = b'"type":"SUBSCRIBE"'
_CONTENT_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(eq=False)
class _Connection:
    near: socket.socket  # The daemon's end.
    far: socket.socket  # Mesos'.
    is_stream: bool = False  # It carries events.
    loses_answer: bool = False  # It is to be cut when Mesos answers.

    def end(self) -> None:
        for each in (self.near, self.far):
            with contextlib.suppress(OSError):  # The peer may have gone first.
                each.shutdown(socket.SHUT_RDWR)


@dataclass
class _Break:
    """What is to happen to the next call of one type."""

    call: bytes
    arrives: bool


class Held:
    """Events that a line holds back; all of one connection."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._data = b""
        self._near: socket.socket | None = None

    def __contains__(self, text: bytes) -> bool:
        return text in self._data

    def __len__(self) -> int:
        return len(self._data)

    def add(self, near: socket.socket, data: bytes) -> None:
        with self._lock:
            if near is not self._near:  # The one before was cut, and what was on its way is lost.
                self._near, self._data = near, b""
            self._data += data

    def deliver(self, size: int | None = None) -> None:
        """The first `size` bytes of it, or all."""
        with self._lock:
            now, self._data = self._data[:size], self._data[len(self._data) if size is None else size :]
            if self._near is not None:
                with contextlib.suppress(OSError):  # It was cut.
                    self._near.sendall(now)


class Line:
    """Listens at `address`, and passes on what comes there.  All else that it does a test has asked for."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._target: tuple[str, int] | None = None
        self._connections: set[_Connection] = set()
        self._lock = threading.Lock()
        self.refused = 0  # Requests that were answered 503.
        self._refusing = False
        self._break: _Break | None = None
        self._held: Held | None = None
        threading.Thread(target=self._accept, daemon=True).start()

    def connect_to(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._target = host, int(port)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # A second time.
            self._listener.shutdown(socket.SHUT_RDWR)  # Wakes `_accept`, which closing does not.
        self._listener.close()
        self.cut()

    # -- what a test may do to it ------------------------------------------------------------------

    def cut(self) -> None:
        """Ends every connection; new ones are taken."""
        with self._lock:
            for each in self._connections:
                each.end()

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Cut, and then every request is answered 503, as by a Mesos that is about to be ready."""
        self._refusing, self.refused = True, 0
        self.cut()
        try:
            yield
        finally:
            self._refusing = False

    def cut_at(self, call: str, *, arrives: bool) -> None:
        """Cuts the connection under the next call of a type: before it arrives, or just before its answer does."""
        self._break = _Break(b'"type":"%b"' % call.encode(), arrives)

    def spare(self) -> None:
        """The call of `cut_at`, if it has not come yet."""
        self._break = None

    @property
    def broken(self) -> bool:
        """Whether the call of `cut_at` has come, and was cut."""
        return self._break is None

    @contextlib.contextmanager
    def held_back(self) -> Iterator[Held]:
        """Events wait here until the end, in order; calls and their answers do not."""
        self._held = held = Held()
        try:
            yield held
        finally:
            with self._lock:
                held.deliver()
                self._held = None

    # -- what it does --------------------------------------------------------------------------------

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # It was closed.
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            if self._refusing:
                _read_request(near)
                near.sendall(_UNAVAILABLE)
                self.refused += 1
                return
            assert self._target is not None, "a daemon came before the Mesos it is for"
            with socket.create_connection(self._target) as far:
                connection = _Connection(near, far)
                with self._lock:
                    self._connections.add(connection)
                back = threading.Thread(target=self._pass_events, args=(connection,), daemon=True)
                back.start()
                try:
                    self._pass_calls(connection)
                finally:
                    connection.end()
                    back.join()
                    with self._lock:
                        self._connections.discard(connection)

    def _pass_calls(self, connection: _Connection) -> None:
        while data := connection.near.recv(65536):
            connection.is_stream = connection.is_stream or _SUBSCRIBE in data
            planned = self._break
            if planned is not None and planned.call in data:
                connection.loses_answer = planned.arrives
                self._break = None
                if not planned.arrives:
                    return
            connection.far.sendall(data)

    def _pass_events(self, connection: _Connection) -> None:
        with contextlib.suppress(OSError):  # Either end may go at any time.
            while data := connection.far.recv(65536):
                if connection.loses_answer:
                    break
                with self._lock:
                    if self._held is not None and connection.is_stream:
                        self._held.add(connection.near, data)
                        continue
                connection.near.sendall(data)
        connection.end()


def _read_request(near: socket.socket) -> None:
    """To its end: one who closes with something unread resets the connection, and the answer is lost."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        data += _some(near)
    length = _CONTENT_LENGTH.search(data, 0, end)
    missing = int(length[1]) - (len(data) - end - 4) if length is not None else 0
    while missing > 0:
        missing -= len(_some(near))


def _some(near: socket.socket) -> bytes:
    if not (data := near.recv(65536)):
        raise OSError("the daemon has left")
    return data


class LinedCluster:
    """A cluster that our daemons reach by lines, one a Mesos API, as a `Stack` wants it."""

    def __init__(self, cluster: Cluster) -> None:
        self.mesos = cluster
        self.scheduler, self.provider, self.executor = Line(), Line(), Line()

    @property
    def master(self) -> str:
        return self.scheduler.address

    @property
    def agent(self) -> str:
        return self.provider.address

    def line(self, of: str) -> Line:
        """That of the ``scheduler``, ``provider`` or ``executor``."""
        return {"scheduler": self.scheduler, "provider": self.provider, "executor": self.executor}[of]

    @property
    def executor_command(self) -> str:
        """Starts an executor that reaches its agent by the line."""
        return f"env MESOS_AGENT_ENDPOINT={self.executor.address} {DEFAULT_EXECUTOR_COMMAND}"

    def start(self) -> None:
        self.mesos.start()
        self.scheduler.connect_to(self.mesos.master)
        self.provider.connect_to(self.mesos.agent)
        self.executor.connect_to(self.mesos.agent)

    def stop(self) -> None:
        """Lines last, as the network does."""
        self.mesos.stop()
        for each in (self.scheduler, self.provider, self.executor):
            each.close()
