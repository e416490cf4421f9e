"""Stands before a server, and passes everything on: TLS, or another address, for a peer that has neither."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading


class Front:
    """Listens at `host`, on a port of its own, and connects to `upstream` (``host:port``) for each who connects."""

    def __init__(self, upstream: str, context: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        name, _, port = upstream.rpartition(":")
        self.connections = 0
        self._upstream = (name, int(port))
        self._context = context
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self._socks: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Ends every connection that there is."""
        for sock in self._socks:
            _shut(sock)

    def close(self) -> None:
        _shut(self._listener)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(sock.close)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True)  # Fails as the client's handshake does.
                stack.callback(sock.close)
            server = stack.enter_context(socket.create_connection(self._upstream))
            self._socks += [sock, server]
            _pump(sock, server)


def _pump(one: socket.socket, other: socket.socket) -> None:
    """Until either side ends.  One thread: a TLS socket is not for two."""
    while True:
        held_back = isinstance(one, ssl.SSLSocket) and one.pending() > 0
        ready = [one] if held_back else select.select([one, other], [], [])[0]
        for source in ready:
            data = source.recv(65536)
            if not data:
                return
            (other if source is one else one).sendall(data)


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
