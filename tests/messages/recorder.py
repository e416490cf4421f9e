"""A proxy before a master and an agent that records their v1 APIs, and passes every byte on as it is."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
import threading
from typing import Any

from serenity.framework.mesos.task_info import DEFAULT_EXECUTOR_COMMAND
from serenity.localmesos.cluster.cluster import Cluster
from serenity.wire.transport.recordio import RecordReader
from tests.messages.recording import Recording

_SIDES = {
    "/api/v1/scheduler": "scheduler",
    "/api/v1/executor": "executor",
    "/api/v1/resource_provider": "provider",
}
# Not Mesos' own, but of this one connection.
_HEADERS_OF_TRANSPORT = {"connection", "content-length", "date", "server", "transfer-encoding"}


class Recorder:
    """Stands before a cluster, and in a `Stack` for it, from `start` to `stop`."""

    def __init__(self, mesos: Cluster) -> None:
        self.recording = Recording()
        self.mesos = mesos
        self._lock = threading.Lock()
        self._cut: list[tuple[str, str]] = []  # Side and type of the calls that are still to be cut off.
        self._relays: list[_Relay] = []
        self._listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self.master, self.agent = (f"127.0.0.1:{each.getsockname()[1]}" for each in self._listeners)

    @property
    def executor_command(self) -> str:
        """Starts an executor that reaches its agent by the recorder."""
        return f"env MESOS_AGENT_ENDPOINT={self.agent} {DEFAULT_EXECUTOR_COMMAND}"

    def start(self) -> None:
        self.mesos.start()
        for listener, upstream in zip(self._listeners, (self.mesos.master, self.mesos.agent), strict=True):
            threading.Thread(target=self._accept, args=(listener, upstream), daemon=True).start()

    def stop(self) -> None:
        self.mesos.stop()
        with self._lock:
            relays = self._relays.copy()
        for listener in self._listeners:
            _shut(listener)
            listener.close()
        for relay in relays:
            relay.end()

    def cut_off_next(self, side: str, call: str) -> None:
        """The next call of that type is recorded, but never arrives: its connection breaks."""
        with self._lock:
            self._cut.append((side, call))

    def cuts_off(self, side: str, call: str) -> bool:
        with self._lock:
            if (side, call) not in self._cut:
                return False
            self._cut.remove((side, call))
            return True

    def _accept(self, listener: socket.socket, upstream: str) -> None:
        host, _, port = upstream.rpartition(":")
        with contextlib.suppress(OSError):  # `stop` ends it.
            while True:
                client, _ = listener.accept()
                relay = _Relay(self, client, (host, int(port)))
                with self._lock:
                    self._relays = [each for each in self._relays if not each.over]
                    self._relays.append(relay)
                threading.Thread(target=relay.run, daemon=True).start()


class _Copy(io.RawIOBase):
    """Reads a socket for a parser, and keeps the bytes as they came."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self._kept = bytearray()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._source.recv_into(buffer)
        self._kept += memoryview(buffer)[:count]
        return count

    def take(self) -> bytes:
        """What was read since the last time."""
        taken = bytes(self._kept)
        self._kept.clear()
        return taken

    def makefile(self, _mode: str = "rb") -> io.BufferedReader:
        """What http.client asks of a socket.  Nothing is read ahead, nor passed on before it is known."""
        return io.BufferedReader(self, buffer_size=1)


class _Relay:
    """One connection of a client, and one of ours to Mesos for it."""

    def __init__(self, recorder: Recorder, client: socket.socket, upstream: tuple[str, int]) -> None:
        self._recorder = recorder
        self._client = client
        self._upstream_address = upstream
        self._upstream: socket.socket | None = None
        self.over = False

    def run(self) -> None:
        # However it ends, whoever is left learns it by its own connection's end.
        try:
            with contextlib.suppress(OSError, http.client.HTTPException):
                self._upstream = socket.create_connection(self._upstream_address, timeout=10.0)
                self._upstream.settimeout(None)
                while self._one_request(self._upstream):
                    pass
        finally:
            self.end()
            for sock in self._sockets:
                sock.close()

    @property
    def _sockets(self) -> list[socket.socket]:
        return [each for each in (self._client, self._upstream) if each is not None]

    def end(self) -> None:
        self.over = True
        for sock in self._sockets:
            _shut(sock)

    def _one_request(self, upstream: socket.socket) -> bool:
        """Whether there may be another."""
        copy = _Copy(self._client)
        file = copy.makefile()
        request_line = file.readline().split()
        if len(request_line) != 3:
            return False
        headers = http.client.parse_headers(file)
        body = file.read(int(headers.get("content-length", 0)))
        side = _SIDES.get(request_line[1].decode())
        call = json.loads(body) if side is not None else {}
        if side is not None:
            self._recorder.recording.add(side, "call", call)
            if self._recorder.cuts_off(side, call["type"]):
                return False
        upstream.sendall(copy.take())
        return self._one_response(upstream, request_line[0].decode(), side, call.get("type", ""))

    def _one_response(self, upstream: socket.socket, method: str, side: str | None, kind: str) -> bool:
        copy = _Copy(upstream)
        response = http.client.HTTPResponse(copy, method=method)  # type: ignore[arg-type]  # It only asks for a file.
        response.begin()
        streams = side is not None and kind == "SUBSCRIBE" and response.status == 200
        if side is not None:
            own = {k.lower(): v for k, v in response.getheaders() if k.lower() not in _HEADERS_OF_TRANSPORT}
            answer = {"type": kind, "status": response.status, "headers": own}
            self._recorder.recording.add(side, "response", answer)
        self._client.sendall(copy.take())
        if streams:
            threading.Thread(target=self._until_client_leaves, daemon=True).start()
        reader = RecordReader()
        while chunk := response.read1(65536):
            if streams and side is not None:
                for record in reader.feed(chunk):
                    self._recorder.recording.add(side, "event", json.loads(record))
            self._client.sendall(copy.take())
        self._client.sendall(copy.take())
        return not (streams or response.will_close)

    def _until_client_leaves(self) -> None:
        """A subscriber says nothing more on its connection; that it is gone, Mesos must learn at once."""
        with contextlib.suppress(OSError):
            while self._client.recv(65536):
                pass
        self.end()


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # It may be over already.
        sock.shutdown(socket.SHUT_RDWR)
