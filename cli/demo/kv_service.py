"""A small key-value service for machines without memcached: the part of its protocol that the demo uses.

``get``, ``set``, ``stats``, ``version``, ``quit``, pipelined.  One process, one thread.  It
exists so that `serenity demo` needs nothing but Python, and is no memcached otherwise.

    python -m serenity.cli.demo.kv_service --port PORT
"""

from __future__ import annotations

import argparse
import selectors
import signal
import socket
import sys
from collections.abc import Sequence

VERSION = "serenity-kv-1"


class Service:
    """The stored values and the counters."""

    def __init__(self) -> None:
        self._answers: dict[bytes, bytes] = {}  # By the request line that each answers.
        self.cmd_get = self.cmd_set = 0

    def handle(self, unread: bytearray) -> bytes:
        """Takes the whole requests out of `unread`, and returns the answers to them."""
        answers: list[bytes] = []
        while (end := unread.find(b"\r\n")) >= 0:
            line = bytes(unread[:end])
            if line.startswith(b"get "):
                answers.append(self._get_all(unread))
            elif line.startswith(b"set "):
                stored = self._set(line, unread, end + 2)
                if stored is None:
                    break  # The value is not whole yet.
                answers.append(stored)
            else:
                del unread[: end + 2]
                answers.append(self._other(line))
        return b"".join(answers)

    def _get_all(self, unread: bytearray) -> bytes:
        """All the leading ``get`` lines at once: this is where the time goes."""
        whole = unread.rfind(b"\r\n") + 2
        lines = bytes(unread[: whole - 2]).split(b"\r\n")
        count = next((i for i, line in enumerate(lines) if not line.startswith(b"get ")), len(lines))
        del unread[: sum(map(len, lines[:count])) + 2 * count]
        self.cmd_get += count
        found = self._answers
        return b"".join([found.get(line, b"END\r\n") for line in lines[:count]])

    def _set(self, line: bytes, unread: bytearray, begin: int) -> bytes | None:
        fields = line.split()
        if len(fields) < 5 or not fields[4].isdigit():
            del unread[:begin]
            return b"CLIENT_ERROR bad command line format\r\n"
        end = begin + int(fields[4])
        if len(unread) < end + 2:
            return None
        value = bytes(unread[begin:end])
        self._answers[b"get " + fields[1]] = b"VALUE %b %b %d\r\n%b\r\nEND\r\n" % (
            fields[1],
            fields[2],
            len(value),
            value,
        )
        del unread[: end + 2]
        self.cmd_set += 1
        return b"STORED\r\n"

    def _other(self, line: bytes) -> bytes:
        if line == b"stats":
            return f"STAT cmd_get {self.cmd_get}\r\nSTAT cmd_set {self.cmd_set}\r\nEND\r\n".encode()
        if line == b"version":
            return f"VERSION {VERSION}\r\n".encode()
        return b"ERROR\r\n"


class Peer:
    """One client: requests that are not handled yet, and answers that are not sent yet."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.unread = bytearray()
        self.unsent = bytearray()


def serve(port: int) -> None:
    """Serves until the process is ended.  Raises OSError when the port is in use."""
    service = Service()
    selector = selectors.DefaultSelector()
    with socket.create_server(("127.0.0.1", port), backlog=128) as listener:
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for ready, _ in selector.select():
                if ready.data is None:
                    sock, _ = listener.accept()
                    sock.setblocking(False)
                    selector.register(sock, selectors.EVENT_READ, Peer(sock))
                elif not _exchange(service, ready.data):
                    selector.unregister(ready.data.sock)
                    ready.data.sock.close()
                else:
                    writing = selectors.EVENT_WRITE if ready.data.unsent else 0
                    selector.modify(ready.data.sock, selectors.EVENT_READ | writing, ready.data)


def _exchange(service: Service, peer: Peer) -> bool:
    """Reads, answers and sends what is possible now; False when the peer has gone."""
    try:
        data = peer.sock.recv(1 << 16)
        if not data:
            return False
        peer.unread += data
        peer.unsent += service.handle(peer.unread)
    except BlockingIOError:
        pass  # Woken up to send.
    except OSError:
        return False
    try:
        if peer.unsent:
            del peer.unsent[: peer.sock.send(peer.unsent)]
    except BlockingIOError:
        pass  # The client reads slowly; the selector tells when to go on.
    except OSError:
        return False
    return True


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="A small key-value service for the demo.")
    parser.add_argument("--port", type=int, required=True)
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        serve(args.port)
    except OSError as error:
        print(f"cannot listen on 127.0.0.1:{args.port}: {error.strerror}", file=sys.stderr)
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main())
