"""One listening address: what is served there, the streams that are open at it, and its faults.  Runs on gevent."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Collection

from gevent import pywsgi

from serenity.localmesos.web.http import Application, Handler, serve
from serenity.localmesos.web.streams import EventStream
from serenity.wire.mesos.resources import Json

_STOP_TIMEOUT_S = 1.0


class Port:
    def __init__(self, listener: socket.socket, on_stream_end: Callable[[str], None]) -> None:
        """`on_stream_end` is told the id of every stream that is over, whoever ended it."""
        self.number = int(listener.getsockname()[1])
        self._listener = listener
        self._on_stream_end = on_stream_end
        self._streams: dict[str, EventStream] = {}
        self._kinds: dict[str, str] = {}
        self._server: pywsgi.WSGIServer | None = None
        self._unavailable_until_s = 0.0

    def serve(self, routes: dict[str, Handler]) -> None:
        """Returns at once; from now on requests are answered."""
        self._server = serve(self._listener, Application(routes, self._available))

    def _available(self) -> bool:
        return time.monotonic() >= self._unavailable_until_s

    # -- streams -----------------------------------------------------------------------

    def open_stream(self, kind: str, heartbeat_s: float | None) -> EventStream:
        """`kind`: of the subscriber, such as ``scheduler``; see `cut_streams`."""
        stream = EventStream(str(uuid.uuid4()), heartbeat_s, self._ended)
        self._streams[stream.stream_id], self._kinds[stream.stream_id] = stream, kind
        return stream

    def _ended(self, stream_id: str) -> None:
        self._streams.pop(stream_id, None)
        self._kinds.pop(stream_id, None)
        self._on_stream_end(stream_id)

    def send(self, stream_id: str, event: Json) -> None:
        """Nothing happens if the stream is over."""
        if stream_id in self._streams:
            self._streams[stream_id].send(event)

    def end_stream(self, stream_id: str) -> None:
        if stream_id in self._streams:
            self._streams[stream_id].end()

    # -- faults, and the end -----------------------------------------------------------

    def refuse(self, for_s: float) -> None:
        """Every request is answered with 503; streams that are open go on."""
        self._unavailable_until_s = time.monotonic() + for_s

    def cut_streams(self, kinds: Collection[str]) -> None:
        """Breaks the connections of subscribers of these kinds."""
        for stream_id in [each for each, kind in self._kinds.items() if kind in kinds]:
            self._streams[stream_id].cut()

    def stop(self) -> None:
        """Streams are ended properly, and nothing is accepted any more."""
        for stream in list(self._streams.values()):
            stream.end()
        if self._server is not None:
            self._server.stop(timeout=_STOP_TIMEOUT_S)

    def break_off(self) -> None:
        """As when the process is killed: every connection is gone at once, and nobody is told that streams ended."""
        self._on_stream_end = lambda stream_id: None
        for stream in list(self._streams.values()):
            stream.cut()
        if self._server is not None:
            self._server.stop(timeout=0)
