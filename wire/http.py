"""HTTP to Mesos, to the framework and over Unix sockets: one-shot requests and event streams.

Blocking code on the standard library's client, so that it runs in the executor's threads
and, monkey-patched, in gevent's greenlets alike.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

REQUEST_TIMEOUT_S = 10.0
# A body that is read whole; a master's /state of 10,000 agents is some 100 MB.
MAX_BODY_BYTES = 512 * 1024 * 1024
_VISIBLE = re.compile(r"[!-~\u00a1-\uffff]+")


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

    `may_have_arrived` says whether the request had been sent: the peer may have carried it out.
    """

    def __init__(self, message: str, may_have_arrived: bool = False) -> None:
        super().__init__(message)
        self.may_have_arrived = may_have_arrived


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is: ``host:port``, ``http://host:port[/prefix]`` or ``unix:/path/of.sock``."""

    host: str
    port: int
    prefix: str = ""
    unix_path: str | None = None

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> Endpoint:
        """Raises ValueError, in words for a user, when it is none of the three forms."""
        scheme, _, path = text.partition(":")
        if scheme == "unix" and path.startswith("/"):
            return cls("localhost", 0, unix_path=path)
        try:
            url = urlsplit(text if "//" in text or scheme == "unix" else f"//{text}")
            port = default_port if url.port is None else url.port
            host = url.hostname or ""
            host.encode("idna")  # What the resolver would raise, and nobody there expects.
        except ValueError:
            host, port = "", None
        if not host or not port or url.scheme not in ("", "http") or "@" in url.netloc or not _VISIBLE.fullmatch(host):
            raise ValueError(f"{text!r} is no address; write HOST:PORT, http://HOST:PORT or unix:/PATH")
        return cls(host, port, url.path.rstrip("/"))

    def __str__(self) -> str:
        if self.unix_path is not None:
            return f"unix:{self.unix_path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: Mapping[str, str] = field(repr=False)  # Names in lower case.
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """Raises HttpError when the body is no JSON: the peer is not what it should be."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise HttpError(self.status, self.body, "the answer is no JSON") from None


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """Requests to one endpoint over one kept-alive connection.  Not thread-safe: lock around it.

    A kept connection that the peer has closed meanwhile is opened anew.  No request is ever
    sent twice: a launch that is repeated would be refused, under a task id that runs.
    """

    def __init__(self, endpoint: Endpoint, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        self.endpoint = endpoint
        self._timeout_s = timeout_s
        self._connection: http.client.HTTPConnection | None = None

    def request(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Response:
        """Sends `body` as JSON (or as it is, if bytes) and reads the whole answer, whatever its status.

        Raises:
            Unreachable: no answer.
        """
        data, sent_headers = _encode(body, headers)
        if self._connection is not None and _closed_by_peer(self._connection):
            self.close()
        try:
            if self._connection is None:
                self._connection = _connect(self.endpoint, self._timeout_s)
            self._connection.request(method, self.endpoint.prefix + path, body=data, headers=sent_headers)
            answer = self._connection.getresponse()
            content = _read_whole(answer)
        except (OSError, http.client.HTTPException) as error:
            may_have_arrived = self._connection is not None
            self.close()
            raise _unreachable(self.endpoint, error, may_have_arrived) from error
        if answer.will_close:
            self.close()
        return Response(answer.status, _lower(answer), content)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def request(
    endpoint: Endpoint,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = REQUEST_TIMEOUT_S,
) -> Response:
    """One request on a connection of its own.  Any status is an answer; raises Unreachable for none."""
    client = Client(endpoint, timeout_s)
    try:
        return client.request(method, path, body, headers)
    finally:
        client.close()


def get_json(endpoint: Endpoint, path: str, timeout_s: float = REQUEST_TIMEOUT_S) -> Any:
    """GET, decoded.  Raises Unreachable, or HttpError for any status but 200."""
    answer = request(endpoint, "GET", path, timeout_s=timeout_s)
    if answer.status != 200:
        raise HttpError(answer.status, answer.body, f"GET {endpoint}{path}", answer.headers)
    return answer.json()


class Stream:
    """An answer that never ends: `chunks` until the peer closes, or `close` from any thread."""

    def __init__(
        self, connection: http.client.HTTPConnection, sock: socket.socket, answer: http.client.HTTPResponse
    ) -> None:
        self._connection = connection
        # Kept apart: with "Connection: close" http.client forgets the socket once the answer has begun.
        self._socket = sock
        self._answer = answer
        self.headers: Mapping[str, str] = _lower(answer)
        self.ended_by_peer = False  # In order, with the last chunk: neither cut off nor closed by us.
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
                    raise Unreachable(f"the stream was cut off: {error or type(error).__name__}") from error
                if not chunk:
                    self.ended_by_peer = not self._closed
                    return
                yield chunk
        finally:
            self._free()

    def close(self) -> None:
        """Ends the stream; a thread blocked in `chunks` returns.  May be called twice."""
        with self._lock:
            self._closed = True
            being_read = self._reading
        with contextlib.suppress(OSError):  # The peer may have gone first.
            self._socket.shutdown(socket.SHUT_RDWR)
        if not being_read:
            self._free()

    def _free(self) -> None:
        # Never while another greenlet reads: its buffer refuses that ("reentrant call").
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
) -> Stream:
    """Opens a stream.  `timeout_s` bounds the answer's beginning, `silence_s` any pause afterwards.

    Raises:
        HttpError: any status but 200.
        Unreachable: no answer.
    """
    data, sent_headers = _encode(body, headers)
    connection = None
    try:
        connection = _connect(endpoint, timeout_s)
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
        raise _unreachable(endpoint, error, may_have_arrived=connection is not None) from error
    return Stream(connection, sock, answer)


def _connect(endpoint: Endpoint, timeout_s: float | None) -> http.client.HTTPConnection:
    """A connection that is open.  Raises OSError or HTTPException."""
    connection = (
        http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout_s)
        if endpoint.unix_path is None
        else _UnixConnection(endpoint.unix_path, timeout_s)
    )
    try:
        connection.connect()
    except OSError:
        connection.close()
        raise
    return connection


def _closed_by_peer(connection: http.client.HTTPConnection) -> bool:
    """Looks at a connection that lies idle: there is nothing to read on it, unless it is over."""
    sock = connection.sock
    timeout_s = sock.gettimeout()
    sock.setblocking(False)
    try:
        sock.recv(1, socket.MSG_PEEK)
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        sock.settimeout(timeout_s)


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


def _encode(body: Any, headers: Mapping[str, str] | None) -> tuple[bytes | None, dict[str, str]]:
    sent = {"Accept": "application/json", **(headers or {})}
    if body is None or isinstance(body, bytes):
        return body, sent
    sent.setdefault("Content-Type", "application/json")
    return json.dumps(body, separators=(",", ":")).encode(), sent


def _lower(answer: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.getheaders()}


def _unreachable(endpoint: Endpoint, error: Exception, may_have_arrived: bool) -> Unreachable:
    if isinstance(error, TimeoutError):
        return Unreachable(f"{endpoint} does not answer (timed out)", may_have_arrived)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Unreachable(f"cannot reach {endpoint}: {reason or type(error).__name__}", may_have_arrived)
