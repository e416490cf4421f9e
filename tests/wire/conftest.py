"""A peer on a real socket that does as the test says, and the shapes that a real Mesos was seen to send."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests import polling

SHAPES = Path(__file__).parent / "shapes"


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at_s: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def type(self) -> str | None:
        return self.json.get("type") if self.body.startswith(b"{") else None


class Answer:
    """One request's way back: a whole answer, or a stream that the test feeds."""

    def __init__(self, sock: socket.socket, request: Request) -> None:
        self.sock = sock
        self.request = request

    def whole(self, status: int, body: bytes = b"", **headers: str) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def begin_stream(self, stream_id: str = "stream-0") -> None:
        self.raw(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nMesos-Stream-Id: {stream_id}\r\n\r\n".encode())

    def event(self, event: Any) -> None:
        record = json.dumps(event).encode()
        self.chunk(b"%d\n%b" % (len(record), record))

    def chunk(self, data: bytes) -> None:
        self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        """In order, as Mesos ends a stream that it does not want; the connection stays open."""
        self.raw(b"0\r\n\r\n")

    def cut(self) -> None:
        """As the kernel does for a peer that was killed."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    def raw(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # The client may have left; tests look at what it does instead.
            self.sock.sendall(data)

    @property
    def left(self) -> bool:
        """Whether the client has closed its end."""
        with contextlib.suppress(OSError):
            self.sock.setblocking(False)
            try:
                return self.sock.recv(1, socket.MSG_PEEK) == b""
            except BlockingIOError:
                return False
            finally:
                self.sock.settimeout(None)
        return True


@dataclass
class Peer:
    """Listens on a port of its own.  SUBSCRIBEs get a stream that begins with `greeting`, all else a 202.

    `subscribes` and `calls` hold what to do instead with the next of each kind, `pages` what GET finds.
    """

    greeting: Any = None
    subscribes: deque[Callable[[Answer], None]] = field(default_factory=deque)
    calls: deque[Callable[[Answer], None]] = field(default_factory=deque)
    pages: dict[str, Any] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    streams: list[Answer] = field(default_factory=list)
    connections: int = 0

    def start(self, port: int = 0) -> None:
        """Also again, after `close`, on the port of before."""
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._socks: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def sent(self, kind: str) -> list[Any]:
        """The calls of one type that have arrived, as JSON, oldest first."""
        return [each.json for each in list(self.requests) if each.type == kind]

    def close(self) -> None:
        for sock in (self._listener, *self._socks):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self._socks.append(sock)
                self.connections += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), sock.makefile("rb") as file:
            while line := file.readline():
                method, path, _ = line.decode().split(" ")
                headers = {}
                while (line := file.readline()) not in (b"\r\n", b""):
                    name, _, value = line.decode().partition(":")
                    headers[name.strip().lower()] = value.strip()
                body = file.read(int(headers.get("content-length", 0)))
                request = Request(method, path, headers, body)
                self.requests.append(request)
                self._answer(Answer(sock, request))

    def _answer(self, answer: Answer) -> None:
        if answer.request.path in self.pages:
            answer.whole(200, json.dumps(self.pages[answer.request.path]).encode())
            return
        if answer.request.type != "SUBSCRIBE":
            (self.calls.popleft() if self.calls else lambda each: each.whole(202))(answer)
            return
        if self.subscribes:
            self.subscribes.popleft()(answer)
            return
        self.streams.append(answer)
        answer.begin_stream(f"stream-{len(self.streams) - 1}")
        if self.greeting is not None:
            answer.event(self.greeting)


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    made.start()
    yield made
    made.close()


class Recorder:
    """Any driver's callbacks: keeps name and arguments of each, without the driver."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.raising: set[str] = set()

    def __getattr__(self, name: str) -> Callable[..., None]:
        def callback(*arguments: Any) -> None:
            self.told.append((name, *(each for each in arguments if not hasattr(each, "_subscription"))))
            if name in self.raising:
                raise RuntimeError(f"{name} does not feel like it")

        return callback

    def names(self) -> list[str]:
        return [each[0] for each in self.told]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def eventually() -> Callable[..., Any]:
    return polling.eventually


@pytest.fixture
def shape() -> Callable[[str], Any]:
    return lambda name: json.loads((SHAPES / name).read_text())
