"""The estimator's socket, as the executor uses it: frames come in, tasks and leases go out.

One thread owns the socket.  Others leave what is to be said, and take what came; nobody
waits for the estimator.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from serenity.qos.frame import Container, Frame
from serenity.qos.trace import frame_of
from serenity.wire.mesos.subscription import Backoff
from serenity.wire.messages.node import (
    Accuse,
    Accused,
    Hello,
    History,
    Lease,
    LineReader,
    NodeProtocolError,
    Overcommitment,
    Release,
    Sample,
    TaskOnNode,
    Tasks,
    Unowned,
    Welcome,
    decode_to_executor,
    encode_line,
)

logger = logging.getLogger(__name__)

_SEND_TIMEOUT_S = 2.0
# An estimator that says nothing for so many of its intervals hangs.
_SILENT_INTERVALS = 5
_FIRST_SILENCE_S = 10.0


class Accusations(Protocol):
    """What other executors on the node say; see `accusations`."""

    def received(self, message: Accused) -> None: ...
    def unowned(self, message: Unowned) -> None: ...


class NodeClient:
    """`on_frames`: called in the client's thread with what has come, oldest first; so are `accusations`."""

    def __init__(
        self,
        path: Path,
        hello: Hello,
        on_frames: Callable[[list[Frame], Overcommitment | None], None],
        accusations: Accusations,
    ) -> None:
        self._path = path
        self._hello = hello
        self._on_frames = on_frames
        self._accusations = accusations
        self._backoff = Backoff(first_s=0.2, max_s=5.0)
        self._tasks: tuple[TaskOnNode, ...] = ()
        self._lease: Lease | None = None
        self._unsaid: list[Tasks | Lease | Release | Accuse] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="node", daemon=True)
        self.connected = False
        self._said_missing = False
        self._containers: tuple[Container, ...] = ()  # Of the last frame.

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Says what is still to be said (a release), then closes."""
        self._stopping.set()
        self._wake()
        self._thread.join(_SEND_TIMEOUT_S + 1.0)
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def declare(self, tasks: tuple[TaskOnNode, ...]) -> None:
        """The tasks that run now; said again after a reconnection."""
        self._tasks = tasks
        self._say(Tasks(tasks=tasks))

    def lease(self, reason: str, ttl_s: float) -> None:
        self._lease = Lease(holder=self._hello.executor_id, reason=reason, ttl_s=ttl_s)
        self._say(self._lease)

    def release(self) -> None:
        if self._lease is not None:
            self._lease = None
            self._say(Release(holder=self._hello.executor_id))

    def accuse(self, message: Accuse) -> None:
        """Without an estimator nobody can say whether the task has an owner; then `accusations` are told nothing."""
        self._say(message)

    def _say(self, message: Tasks | Lease | Release | Accuse) -> None:
        if not self.connected:
            return  # Tasks are said on connecting; a lease is renewed at the next tick, and so is an accusation.
        with self._lock:
            self._unsaid.append(message)
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # Full: it will wake anyway.
            os.write(self._wake_writer, b"\0")

    def _run(self) -> None:
        pauses = self._backoff.pauses()
        while not self._stopping.is_set():
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                    sock.settimeout(_SEND_TIMEOUT_S)
                    sock.connect(str(self._path))
                    pauses = self._backoff.pauses()
                    self._talk(sock)
                reason = "it closed the connection"
            except (OSError, NodeProtocolError) as error:
                reason = str(error)
            except Exception as error:  # It costs the connection; without this thread no frame would ever come again.
                reason = f"what it said could not be dealt with: {error!r}"
                logger.exception("this is a bug in Serenity: the connection to the estimator is made anew")
            was_connected, self.connected = self.connected, False
            if self._stopping.is_set():
                return
            if was_connected or not self._said_missing:
                logger.warning("no estimator at %s: %s", self._path, reason)
                self._said_missing = True
            self._stopping.wait(next(pauses))

    def _talk(self, sock: socket.socket) -> None:
        """Until the estimator closes, goes silent, or we stop."""
        with self._lock:
            self._unsaid.clear()
            self.connected = True
        lease = self._lease  # At once: an estimator that was started again gives slack as long as nobody holds it.
        words: list[Hello | Tasks | Lease] = [self._hello, Tasks(tasks=self._tasks)]
        if lease is not None:
            words.append(lease)
        sock.sendall(b"".join(map(encode_line, words)))
        lines = LineReader()
        silence_s = _FIRST_SILENCE_S
        heard_s = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(sock, selectors.EVENT_READ)
            selector.register(self._wake_reader, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select(silence_s)}
                if time.monotonic() - heard_s > silence_s:
                    raise NodeProtocolError(f"silent for {silence_s:.0f} s")
                if self._wake_reader in ready:
                    os.read(self._wake_reader, 4096)
                    self._send_unsaid(sock)
                if self._stopping.is_set():
                    return
                if sock in ready:
                    chunk = sock.recv(1 << 16)
                    if not chunk:
                        return
                    heard_s = time.monotonic()
                    for line in lines.feed(chunk):
                        silence_s = self._hear(line) or silence_s

    def _send_unsaid(self, sock: socket.socket) -> None:
        with self._lock:
            unsaid, self._unsaid = self._unsaid, []
        sock.sendall(b"".join(map(encode_line, unsaid)))

    def _hear(self, line: bytes) -> float | None:
        """Returns how long a silence is too long, where the estimator says at what interval it samples."""
        message = decode_to_executor(line)
        match message:
            case Welcome():
                logger.info("the estimator of %s samples every %.1f s", message.hostname, message.interval_s)
                return max(5.0, _SILENT_INTERVALS * message.interval_s)
            case History():
                self._on_frames([self._frame(each) for each in message.frames], None)
            case Sample():
                self._on_frames([self._frame(message.frame)], message.overcommitment)
            case Accused():
                self._accusations.received(message)
            case Unowned():
                self._accusations.unowned(message)
        return None

    def _frame(self, line: dict[str, object]) -> Frame:
        """While the same containers are there, frames share their tuple: some minutes of them are waiting at first."""
        try:
            frame = frame_of(line)
        except ValueError as error:
            raise NodeProtocolError(str(error)) from error
        if frame.containers == self._containers:
            return replace(frame, containers=self._containers)
        self._containers = frame.containers
        return frame
