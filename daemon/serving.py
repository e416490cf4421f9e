"""HTTP serving for the daemons that run on gevent.  Executor and command line never import this module.

It withstands clients that send nothing, or only drop by drop, that never read their answer, or that send too much.
Each holds one connection, for a while (`Bounds`), and no memory but the kernel's.  When all connections are taken, the
one that has waited longest without a request is closed.  Refusing new clients instead would leave the connections to
clients that want nothing.  This way a new client that sends a request is served, unless as many others come first as
there are connections.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import ssl
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.pywsgi import WSGIHandler, WSGIServer
from gevent.socket import socket as gevent_socket

logger = logging.getLogger(__name__)

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

# In the WSGI environment: the uid of a client on a Unix socket; None for any other client.
PEER_UID = "serenity.peer_uid"

# An unread request body of at most this size is read and dropped, so that the client sees the answer; with more unread,
# the connection is closed.
_DISCARDED_BYTES = 8 * 1024 * 1024
_DISCARDED_WITHIN_S = 2.0
_BACKLOG = 512
_UCRED = struct.Struct("3i")  # pid, uid, gid.
_PATH_BYTES = 107  # The longest path of a Unix socket (sockaddr_un), without its final NUL.


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of one server."""

    connections: int = 4096
    # Limits each read or write, each request line, and its headers: a watcher that reads nothing is dropped.
    patience_s: float = 30.0


_MANY = Bounds()


class CannotListen(OSError):  # noqa: N818 - reads as what it says
    """The address is in use or not ours; the text names it."""


class _Handler(WSGIHandler):
    # gevent compares these with an error's first argument, which is a text for timeouts.
    ignored_socket_errors: Any = (
        *WSGIHandler.ignored_socket_errors,
        errno.ENOTCONN,
        "timed out",
        "The write operation timed out",
    )

    server: _Server

    def __init__(self, sock: Any, address: Any, server: _Server) -> None:
        sock.settimeout(server.patience_s)
        if sock.family != socket.AF_UNIX:
            # Headers and body are separate writes: else the body would wait for the client's delayed acknowledgement.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(sock, address, server)

    def handle(self) -> None:
        try:
            super().handle()
        finally:
            self.server.is_busy()

    def read_requestline(self) -> str:
        self.server.is_idle()
        with gevent.Timeout(self.server.patience_s, TimeoutError("no request")):
            line: str = super().read_requestline()
            return line

    def read_request(self, raw_requestline: str) -> Any:
        try:
            with gevent.Timeout(self.server.patience_s, TimeoutError("its headers did not come in time")):
                return super().read_request(raw_requestline)
        except OSError as error:
            raise ValueError(str(error)) from None  # The client's fault, and not worth a traceback.

    def get_environ(self) -> dict[str, Any]:
        self.server.is_busy()
        environ: dict[str, Any] = super().get_environ()
        environ[PEER_UID] = peer_uid(self.socket)
        return environ

    def run_application(self) -> None:
        try:
            super().run_application()
        finally:
            self._drop_body()

    def _drop_body(self) -> None:
        """Reads the unread rest of a request body if that takes only a moment; else has the connection closed."""
        body = self.wsgi_input
        assert body is not None
        if not body.chunked_input and 0 < _left(body) <= _DISCARDED_BYTES and not self.headers.get("expect"):
            with contextlib.suppress(OSError), gevent.Timeout(_DISCARDED_WITHIN_S, TimeoutError()):
                while body.read(65536):
                    pass
        if _left(body) > 0 or body.chunked_input:
            body.content_length, body.chunked_input = body.position, False
            self.close_connection = True


def _left(body: Any) -> int:
    """Unread bytes of a body whose length is known."""
    return (body.content_length or 0) - int(body.position)


class _Server(WSGIServer):
    handler_class = _Handler

    def __init__(self, listener: Any, application: WSGIApplication, bounds: Bounds, **more: Any) -> None:
        self._places = Pool(bounds.connections)
        super().__init__(listener, application, spawn=self._places, log=None, error_log=logger, **more)
        self.patience_s = bounds.patience_s
        self._idle: dict[Any, None] = {}  # Greenlets of connections without a request, longest waiting first.

    def is_idle(self) -> None:
        """Called when the connection of this greenlet begins to wait for a request."""
        self._idle[gevent.getcurrent()] = None
        if self._places.full() and len(self._idle) > 1:  # If the new connection alone is idle, it stays.
            longest = next(iter(self._idle))
            del self._idle[longest]
            longest.kill(block=False)

    def is_busy(self) -> None:
        """Called when the connection of this greenlet has a request, or has ended."""
        self._idle.pop(gevent.getcurrent(), None)

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> None:
        client_socket.settimeout(self.patience_s)  # For the TLS handshake, too.
        self.is_idle()
        try:
            super().wrap_socket_and_handle(client_socket, address)
        except OSError as error:  # Also ssl.SSLError: no TLS, or none that we accept.
            logger.debug("no TLS with %s: %s", address, error)
        finally:
            self.is_busy()


def serve(
    application: WSGIApplication, host: str, port: int, tls: ssl.SSLContext | None = None, bounds: Bounds = _MANY
) -> WSGIServer:
    """Starts serving; the returned server's `server_port` is the port in use (`port` 0 asks for any free one).

    Raises:
        CannotListen
    """
    secured: dict[str, Any] = {} if tls is None else {"ssl_context": tls}
    server = _Server((host, port), application, bounds, backlog=_BACKLOG, **secured)
    try:
        server.start()
    except (OSError, OverflowError) as error:  # Overflow: a port above 65535.
        number = error.errno if isinstance(error, OSError) else None
        # gevent puts the address into `strerror`; a failed name look-up has a negative number and its own text.
        reason = os.strerror(number) if number is not None and number > 0 else error
        raise CannotListen(f"cannot listen on {host}:{port}: {reason}") from error
    return server


def serve_unix(application: WSGIApplication, path: Path, bounds: Bounds = _MANY) -> WSGIServer:
    """Serves everybody on this machine at a Unix socket; each client is identified by its uid (`PEER_UID`).

    Raises:
        CannotListen: another process listens there, or no socket can be made there.
    """
    try:
        listener = _unix_listener(path)
    except OSError as error:
        raise CannotListen(f"cannot listen on {path}: {error.strerror or error}") from error
    server = _Server(listener, application, bounds)
    server.start()
    return server


def _unix_listener(path: Path) -> Any:
    if len(os.fsencode(path)) > _PATH_BYTES:
        raise OSError(f"the path of a Unix socket has at most {_PATH_BYTES} bytes")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.is_socket():
        if _is_served(path):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
        path.unlink()  # Left by a server that was killed.
    listener = gevent_socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o666)  # The folder's mode decides who may connect, the client's uid what it may do.
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
    return True


def peer_uid(sock: Any) -> int | None:
    """The uid of the connected client; None if `sock` is no Unix socket."""
    if sock.family != socket.AF_UNIX:
        return None
    uid: int = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[1]
    return uid
