"""Connections to servers over TCP, TLS and Unix sockets; and in words why there is none."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl

from serenity.wire.transport import tls
from serenity.wire.transport.access import Access
from serenity.wire.transport.endpoint import Endpoint

# A peer whose machine or address is gone never ends the connection.  Keepalive notices that after some two minutes;
# on a stream that is silent for hours nothing else would.
_KEEPALIVE_IDLE_S, _KEEPALIVE_PAUSE_S, _KEEPALIVE_PROBES = 60, 15, 5
_TLS_ALERT = b"\x15\x03"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _TlsConnection(http.client.HTTPConnection):
    default_port = 443

    def __init__(self, endpoint: Endpoint, access: Access, timeout: float | None) -> None:
        super().__init__(endpoint.host, endpoint.port, timeout=timeout)
        self._context = access.tls or tls.default_context()
        self._server_name = access.server_name or endpoint.host

    def connect(self) -> None:
        super().connect()
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self._server_name)


def connect(endpoint: Endpoint, access: Access, timeout_s: float | None) -> http.client.HTTPConnection:
    """Opens a connection.  Raises OSError or HTTPException."""
    connection = _connection(endpoint, access, timeout_s)
    try:
        connection.connect()
        if endpoint.unix_path is None:
            _keep_alive(connection.sock)
    except OSError:
        connection.close()
        raise
    return connection


def shut(sock: socket.socket) -> None:
    """Ends a connection, which wakes another thread that is blocked in it."""
    with contextlib.suppress(OSError):  # The peer may have gone first.
        # Not SSLSocket.shutdown: it removes the TLS state while the other thread reads with it.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def closed_by_peer(connection: http.client.HTTPConnection) -> bool:
    """Whether the peer has ended an idle connection: only then is there something to read on it.

    Under TLS there may also be data for TLS itself, a session ticket, which does not count as the end.
    """
    sock = connection.sock
    timeout_s = sock.gettimeout()
    sock.setblocking(False)
    try:
        sock.recv(1)
        return True
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    finally:
        sock.settimeout(timeout_s)


def explain(endpoint: Endpoint, error: Exception, first: bool) -> str:
    """Why a request has no answer: one line, with what to do where that is known.

    `first`: the request was the first on its connection, so that nothing shows yet that the peer speaks our protocol.
    """
    if isinstance(error, TimeoutError):
        return f"{endpoint} does not answer (timed out)"
    if isinstance(error, ssl.SSLError):
        return tls.explain(endpoint, error)
    if isinstance(error, socket.gaierror):
        return f"cannot resolve {endpoint.host}, of {endpoint}: {error.strerror}"
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return f"cannot reach {endpoint}: {reason}{_hint(endpoint, error) if first else ''}"


def _connection(endpoint: Endpoint, access: Access, timeout_s: float | None) -> http.client.HTTPConnection:
    if endpoint.unix_path is not None:
        return _UnixConnection(endpoint.unix_path, timeout_s)
    if endpoint.tls:
        return _TlsConnection(endpoint, access, timeout_s)
    return http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=timeout_s)


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_PAUSE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_PROBES)


def _hint(endpoint: Endpoint, error: Exception) -> str:
    """A TLS server answers plain HTTP with an alert, or hangs up; it also hangs up if it wants a certificate."""
    alert = isinstance(error, http.client.BadStatusLine) and str(error).encode("latin-1", "replace")[:2] == _TLS_ALERT
    if endpoint.unix_path is not None or not (alert or isinstance(error, ConnectionResetError)):
        return ""
    return f"; {tls.WANTS_CERTIFICATE}" if endpoint.tls else "; if it speaks TLS, write https://"
