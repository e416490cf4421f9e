"""HTTP to Mesos, to the framework and over Unix sockets: one-shot requests and event streams.

`Access` says how to talk to each server: with which TLS, and as whom.

Blocking code on the standard library's client, so that it runs in the executor's threads
and, monkey-patched, in gevent's greenlets alike.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from serenity.wire.transport.access import ANONYMOUS, Access
from serenity.wire.transport.answers import Answers
from serenity.wire.transport.connection import closed_by_peer, connect, explain, shut
from serenity.wire.transport.endpoint import Endpoint

__all__ = [
    "Client",
    "Endpoint",
    "HttpError",
    "Response",
    "Stream",
    "Unreachable",
    "get",
    "get_json",
    "open_stream",
    "request",
]

REQUEST_TIMEOUT_S = 10.0
# Of a body that is read as a whole; a master's /state with 10,000 agents is some 100 MB.
MAX_BODY_BYTES = 512 * 1024 * 1024


class HttpError(Exception):
    """The peer answered, but not with what was asked for.  `status` is the HTTP status."""

    def __init__(self, status: int, body: bytes, what: str, headers: Mapping[str, str] | None = None) -> None:
        text = body[:500].decode("utf-8", "replace").strip()
        super().__init__(f"{what}: HTTP {status}" + (f": {text}" if text else ""))
        self.status = status
        self.body = body
        self.headers = {name.lower(): value for name, value in (headers or {}).items()}


class Unreachable(Exception):  # noqa: N818 - reads as what it says
    """No answer: refused, timed out, name not found, or cut off in the middle.

    `may_have_arrived`: there was a connection, so that the peer may have got the request and carried it out.
    """

    def __init__(self, message: str, may_have_arrived: bool = False) -> None:
        super().__init__(message)
        self.may_have_arrived = may_have_arrived


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str] = field(repr=False)  # Names in lower case.
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """With U+FFFD for what is no UTF-8, as `decode_mesos`.

        Raises HttpError when the body is no JSON: the peer is not what it should be.
        """
        try:
            return json.loads(self.body.decode("utf-8", "replace"))
        except (ValueError, RecursionError):  # RecursionError: nested too deeply.
            raise HttpError(self.status, self.body, "the answer is no JSON") from None


class Client:
    """Requests to one endpoint over one kept-alive connection.  Not thread-safe: lock around it.

    A kept connection that the peer has closed meanwhile is opened anew.  No request is ever sent twice: a repeated
    launch would be refused, under the id of a task that runs.
    """

    def __init__(self, endpoint: Endpoint, timeout_s: float = REQUEST_TIMEOUT_S, access: Access = ANONYMOUS) -> None:
        self.endpoint = endpoint
        self._access = access
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None
        self._ended = False

    def open(self) -> None:
        """Connects now, so that the next request needs no new file descriptor.  Raises Unreachable."""
        if self._connection is None:
            try:
                self._connection = connect(self.endpoint, self._access, self._timeout_s)
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable(explain(self.endpoint, error, first=True)) from error

    def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Response:
        """Sends `body` as JSON (or as it is, if bytes) and reads the whole answer, whatever its status.

        Raises:
            Unreachable: no answer.
        """
        data, sent_headers = _encode(body, headers, self._access)
        with self._connected() as connection:
            connection.request(method, self.endpoint.prefix + path, body=data, headers=sent_headers)
            answer = connection.getresponse()
            content = _read_whole(answer)
        if answer.will_close:
            self.close()
        return Response(answer.status, _lower(answer), content)

    def pipeline(
        self, method: str, path: str, bodies: Sequence[Any], headers: Mapping[str, str] | None = None
    ) -> list[Response]:
        """Sends all requests before it reads the first answer: for many small ones whose answers are needed together.

        Raises:
            Unreachable: a request got no answer; requests before and after it may have been carried out.
        """
        with self._connected() as connection:
            connection.sock.sendall(b"".join(self._raw(method, path, body, headers) for body in bodies))
            answers = Answers(connection.sock.makefile("rb"))
            responses = [Response(*answers.next()) for _ in bodies]
        if answers.ended:
            self.close()
        return responses

    @contextlib.contextmanager
    def _connected(self) -> Iterator[http.client.HTTPConnection]:
        """The kept connection, or a new one.  What goes wrong with it closes it, and becomes Unreachable."""
        if self._connection is not None and closed_by_peer(self._connection):
            self.close()
        first = self._connection is None
        try:
            if self._connection is None:
                self._connection = connect(self.endpoint, self._access, self._timeout_s)
            if self._ended:
                raise ConnectionAbortedError("ended by us")
            yield self._connection
        except (OSError, http.client.HTTPException) as error:
            may_have_arrived = self._connection is not None
            self.close()
            raise Unreachable(explain(self.endpoint, error, first), may_have_arrived) from error

    def _raw(self, method: str, path: str, body: Any, headers: Mapping[str, str] | None) -> bytes:
        """A request as http.client would send it; http.client itself insists on its answer before the next request."""
        data, sent_headers = _encode(body, headers, self._access)
        host = f"[{self.endpoint.host}]" if ":" in self.endpoint.host else self.endpoint.host
        sent_headers |= {"Host": f"{host}:{self.endpoint.port}", "Content-Length": str(len(data or b""))}
        lines = [
            f"{method} {self.endpoint.prefix}{path} HTTP/1.1",
            *(f"{name}: {value}" for name, value in sent_headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (data or b"")

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def end(self) -> None:
        """Makes the request under way and every later one fail.  May be called from any thread."""
        self._ended = True
        connection = self._connection
        if connection is not None and connection.sock is not None:
            shut(connection.sock)


def request(
    endpoint: Endpoint,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = REQUEST_TIMEOUT_S,
    access: Access = ANONYMOUS,
) -> Response:
    """One request on a connection of its own.  Returns an answer of any status; raises Unreachable if there is none."""
    client = Client(endpoint, timeout_s, access)
    try:
        return client.request(method, path, body, headers)
    finally:
        client.close()


def get(endpoint: Endpoint, path: str, timeout_s: float = REQUEST_TIMEOUT_S, access: Access = ANONYMOUS) -> Response:
    """Raises Unreachable, or HttpError for any status but 200."""
    answer = request(endpoint, "GET", path, timeout_s=timeout_s, access=access)
    if answer.status != 200:
        raise HttpError(answer.status, answer.body, f"GET {endpoint}{path}", answer.headers)
    return answer


def get_json(endpoint: Endpoint, path: str, timeout_s: float = REQUEST_TIMEOUT_S, access: Access = ANONYMOUS) -> Any:
    """GET, with the JSON decoded.  Raises what `get` does, and HttpError if the body is no JSON."""
    return get(endpoint, path, timeout_s, access).json()


class Stream:
    """An answer without end: `chunks` yields it until the peer closes, or until any thread calls `close`."""

    def __init__(
        self, connection: http.client.HTTPConnection, sock: socket.socket, answer: http.client.HTTPResponse
    ) -> None:
        self._connection = connection
        # Kept here, because with "Connection: close" http.client drops the socket once the answer has begun.
        self._socket = sock
        self._answer = answer
        self.headers: Mapping[str, str] = _lower(answer)
        self.ended_by_peer = False  # With a proper last chunk: neither cut off nor closed by us.
        self._closed = False
        self._reading = False
        self._lock = threading.Lock()

    def chunks(self) -> Generator[bytes, None, None]:
        """Yields what arrives, as it arrives; ends when the peer ends the stream.  To be called once.

        Raises:
            Unreachable: cut off, or silent for longer than the stream's timeout.
        """
        with self._lock:
            self._reading = True
        try:
            while True:
                try:
                    chunk = self._answer.read1(65536)
                except TimeoutError as error:
                    raise Unreachable("the stream was silent for too long") from error
                except (OSError, http.client.HTTPException) as error:
                    if self._closed:
                        return
                    raise Unreachable(f"the stream was cut off: {error or type(error).__name__}") from error
                if not chunk:
                    self.ended_by_peer = not self._closed
                    return
                yield chunk
        finally:
            self._free()

    def expect_within(self, silence_s: float) -> None:
        """From now on a longer pause ends the stream.  To be called between chunks, by the thread that reads them."""
        self._socket.settimeout(silence_s)

    def close(self) -> None:
        """Ends the stream; a thread blocked in `chunks` returns.  May be called twice."""
        with self._lock:
            self._closed = True
            being_read = self._reading
        shut(self._socket)
        if not being_read:
            self._free()

    def _free(self) -> None:
        # Never while another greenlet reads: the answer's buffer refuses to be closed then ("reentrant call").
        self._answer.close()
        self._connection.close()
        self._socket.close()


def open_stream(
    endpoint: Endpoint,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    silence_s: float | None = None,
    timeout_s: float = REQUEST_TIMEOUT_S,
    access: Access = ANONYMOUS,
) -> Stream:
    """Opens a stream.  `timeout_s` limits the wait for the answer's beginning, `silence_s` each pause after that.

    Raises:
        HttpError: any status but 200.
        Unreachable: no answer.
    """
    data, sent_headers = _encode(body, headers, access)
    connection = None
    try:
        connection = connect(endpoint, access, timeout_s)
        connection.request(method, endpoint.prefix + path, body=data, headers=sent_headers)
        sock = connection.sock
        answer = connection.getresponse()
        if answer.status != 200:
            content = answer.read(1 << 20)
            answer.close()
            connection.close()
            raise HttpError(answer.status, content, f"{method} {endpoint}{path}", _lower(answer))
        sock.settimeout(silence_s)
    except (OSError, http.client.HTTPException) as error:
        if connection is not None:
            connection.close()
        raise Unreachable(explain(endpoint, error, first=True), may_have_arrived=connection is not None) from error
    return Stream(connection, sock, answer)


def _read_whole(answer: http.client.HTTPResponse) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := answer.read(1 << 20):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BODY_BYTES:
            raise http.client.HTTPException(f"an answer of more than {MAX_BODY_BYTES} bytes")
    if answer.length:  # `read` with a size does not say that the peer cut the body short.
        raise http.client.IncompleteRead(b"", answer.length)
    return b"".join(pieces)


def _encode(body: Any, headers: Mapping[str, str] | None, access: Access) -> tuple[bytes | None, dict[str, str]]:
    sent = {"Accept": "application/json", **(headers or {})}
    if access.authorization is not None:
        sent["Authorization"] = access.authorization
    if body is None or isinstance(body, bytes):
        return body, sent
    sent.setdefault("Content-Type", "application/json")
    return msgspec.json.encode(body), sent


def _lower(answer: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.getheaders()}
