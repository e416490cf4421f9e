"""An event stream of a simulation, both ends: it arrives in pieces of any size, and breaks after any byte."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from serenity.wire.transport import recordio
from serenity.wire.transport.http import Unreachable
from tests.fuzz.threads import Process, SimThread

if TYPE_CHECKING:
    from tests.fuzz.network import Network


class SimStream:
    """The client's end is as `wire.http.Stream`."""

    def __init__(self, network: Network, stream_id: str, host: str, client: Process) -> None:
        self.id = stream_id
        self.host = host
        self.client = client
        self.headers = {"mesos-stream-id": stream_id}
        self.silence_s: float | None = None
        self.ended_by_peer = False
        self._network = network
        self._sent = bytearray()
        self._arrived = bytearray()
        self._breaks_after: int | None = None  # So many bytes, sent by now or later.
        self._ending = False  # By the server, after what it has sent.
        self._over: str | None = None  # For the client: "cut", "ended" by the server, or "closed" by itself.
        self._readers: list[SimThread] = []

    # -- the server's end ----------------------------------------------------------------

    def send(self, event: dict[str, Any]) -> None:
        if self._over is None:
            self._sent += recordio.encode(json.dumps(event).encode())
            self._network.busy[self] = None

    def end(self) -> None:
        if self._over is None:
            self._ending = True
            self._network.busy[self] = None

    # -- the outside ---------------------------------------------------------------------

    def deliver(self) -> None:
        """A piece of what was sent arrives."""
        size = next(self._network.sizes) or len(self._sent)
        if self._breaks_after is not None:
            size = min(size, self._breaks_after)
            self._breaks_after -= min(size, len(self._sent))
        self._arrived += self._sent[:size]
        del self._sent[:size]
        if self._breaks_after == 0:
            self.cut()
        elif not self._sent and self._ending:
            self._end("ended")
        elif not self._sent:
            del self._network.busy[self]
        self._wake()

    def break_after(self, size: int | None) -> None:
        """So many more bytes arrive; None: it does not break after all."""
        self._breaks_after = size
        if size == 0:
            self.cut()

    def cut(self) -> None:
        """The connection breaks; what has not arrived never will."""
        self._end("cut")

    def _end(self, how: str) -> None:
        if self._over is not None:
            return
        self._over = how
        self._sent.clear()
        self._network.busy.pop(self, None)
        self._network.streams.remove(self)
        self._network.channel().send(self._server_notices)
        self._wake()

    def _server_notices(self) -> None:
        server = self._network.hosts.get(self.host)
        if server is not None:
            server.stream_closed(self.id)

    def _wake(self) -> None:
        for thread in self._readers:
            self._network.threads.wake(thread)

    # -- the client's end ------------------------------------------------------------------

    def chunks(self) -> Generator[bytes, None, None]:
        while True:
            if self._arrived:
                chunk = bytes(self._arrived)
                self._arrived.clear()
                yield chunk
            elif self._over == "cut":
                raise Unreachable("the stream was cut off")
            elif self._over is not None:
                self.ended_by_peer = self._over == "ended"
                return
            elif not self._network.threads.park_in(self._readers, self.silence_s):
                raise Unreachable("the stream was silent for too long")

    def expect_within(self, silence_s: float) -> None:
        self.silence_s = silence_s

    def close(self) -> None:
        self._end("closed")
