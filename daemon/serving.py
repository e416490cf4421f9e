"""HTTP serving for the daemons that run on gevent.  Executor and command line never import this module.

What it bears: clients that send nothing, or drop by drop; that never read what they asked for; that send more than
anybody wants.  Each holds one connection, for a while (`Bounds`), and no memory but the kernel's.  Where they hold all,
whoever has waited longest without a request goes: to refuse those who come would be to leave the place to those who
want nothing, and who comes with a request is served before as many others have come as there are places.
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

# In the WSGI environment: the uid of who has called over a Unix socket; None of who has called otherwise.
PEER_UID = "serenity.peer_uid"

# Of what nobody has read of a body so much is read, for the client to see the answer; else the connection ends.
_DISCARDED_BYTES = 8 * 1024 * 1024
_DISCARDED_WITHIN_S = 2.0
_BACKLOG = 512
_UCRED = struct.Struct("3i")  # pid, uid, gid.
_PATH_BYTES = 107  # Of a Unix socket, in sockaddr_un, with its NUL one more.


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one server."""

    connections: int = 4096
    # No single read or write takes longer, and no request line and headers: a watcher that reads nothing is dropped.
    patience_s: float = 30.0


_MANY = Bounds()


class CannotListen(OSError):  # noqa: N818 - reads as what it says
    """The address is in use or not ours; the text names it."""


class _Handler(WSGIHandler):
    # gevent compares with the first argument; a timeout's is a text.
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
            # Headers and body are sent one after the other: else the body waits for the client's late acknowledgement.
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
            raise ValueError(str(error)) from None  # The client's doing, and not worth a traceback.

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
        """What is left of a body that was refused is read if that is soon done; else the connection ends."""
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
    """Bytes that nobody has read; where their number is known."""
    return (body.content_length or 0) - int(body.position)


class _Server(WSGIServer):
    handler_class = _Handler

    def __init__(self, listener: Any, application: WSGIApplication, bounds: Bounds, **more: Any) -> None:
        self._places = Pool(bounds.connections)
        super().__init__(listener, application, spawn=self._places, log=None, error_log=logger, **more)
        self.patience_s = bounds.patience_s
        self._idle: dict[Any, None] = {}  # Greenlets of connections without a request; who has waited longest is first.

    def is_idle(self) -> None:
        """The connection of this greenlet waits for a request."""
        self._idle[gevent.getcurrent()] = None
        if self._places.full() and len(self._idle) > 1:  # The last that came is not sent away for those who are served.
            longest = next(iter(self._idle))
            del self._idle[longest]
            longest.kill(block=False)

    def is_busy(self) -> None:
        """It has one, or has ended."""
        self._idle.pop(gevent.getcurrent(), None)

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> None:
        client_socket.settimeout(self.patience_s)  # The handshake's, too.
        self.is_idle()
        try:
            super().wrap_socket_and_handle(client_socket, address)
        except OSError as error:  # ssl.SSLError is one: no TLS, or none that we take.
            logger.debug("no TLS with %s: %s", address, error)
        finally:
            self.is_busy()


def serve(
    application: WSGIApplication, host: str, port: int, tls: ssl.SSLContext | None = None, bounds: Bounds = _MANY
) -> WSGIServer:
    """Starts serving; the returned server's `server_port` is the port that was got (0 asks for any).

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
    """Serves everybody on this machine, at a Unix socket; whoever calls is known by his uid (`PEER_UID`).

    Raises:
        CannotListen: somebody listens there, or no socket can be made there.
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
        path.unlink()  # Of one that was killed.
    listener = gevent_socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o666)  # Who may do what is decided by who it is, and who may come at all by the folder's mode.
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
    """Of whoever has connected; None where that is no Unix socket."""
    if sock.family != socket.AF_UNIX:
        return None
    uid: int = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))[1]
    return uid
