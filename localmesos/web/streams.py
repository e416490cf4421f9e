"""Event streams: RecordIO to one subscriber, with heartbeats, until either side ends it.  Runs on gevent."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator

import gevent
import gevent.queue
import gevent.socket

from serenity.wire.mesos.resources import Json
from serenity.wire.transport import recordio

_STILL_THERE_S = 0.2


class EventStream:
    """The body of a streaming answer: iterate it, and it yields framed events as they are sent."""

    def __init__(self, stream_id: str, heartbeat_s: float | None, on_end: Callable[[str], None]) -> None:
        """`on_end` is called once with the stream's id when the stream is over, whoever ended it."""
        self.stream_id = stream_id
        self._heartbeat_s = heartbeat_s
        self._on_end: Callable[[str], None] | None = on_end
        self._events: gevent.queue.SimpleQueue[Json | None] = gevent.queue.SimpleQueue()
        self._socket: socket.socket | None = None
        self._watcher: gevent.Greenlet[[socket.socket], None] | None = None

    def send(self, event: Json) -> None:
        self._events.put(event)

    def end(self) -> None:
        """Ends the stream once all that was sent before is out."""
        self._events.put(None)

    def cut(self) -> None:
        """Breaks the connection, in the middle of whatever is being sent."""
        if self._socket is not None:
            with contextlib.suppress(OSError):  # The connection is broken already.
                self._socket.shutdown(socket.SHUT_RDWR)

    def watch(self, sock: socket.socket) -> None:
        """Ends the stream as soon as the subscriber closes its side; a failed write would tell too late."""
        self._socket = sock
        self._watcher = gevent.spawn(self._watch, sock)

    def _watch(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                gevent.socket.wait_read(sock.fileno())
                if not sock.recv(1, socket.MSG_PEEK):
                    break
                gevent.sleep(_STILL_THERE_S)  # The subscriber has sent something: not ours to read.
        self._over()
        self.end()

    def __iter__(self) -> Iterator[bytes]:
        heartbeat_at_s = time.monotonic() + (self._heartbeat_s or 0.0)
        while True:
            left_s = None if self._heartbeat_s is None else max(0.0, heartbeat_at_s - time.monotonic())
            try:
                event = self._events.get(timeout=left_s)
            except gevent.queue.Empty:
                event = {"type": "HEARTBEAT"}
                heartbeat_at_s += self._heartbeat_s or 0.0
            if event is None:
                return
            yield recordio.encode(json.dumps(event, separators=(",", ":")).encode())

    def close(self) -> None:
        """The server is done with the answer (PEP 3333)."""
        if self._watcher is not None and self._watcher is not gevent.getcurrent():
            self._watcher.kill(block=False)
        self._over()

    def _over(self) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end(self.stream_id)
