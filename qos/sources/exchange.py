"""Short questions to services on this node, asked all at once, that never hold up the sampling.

Each service is asked once a sample, on a kept connection if its protocol allows it.
`collect` waits for a moment; an answer that takes longer is taken at a later sample, with
the time of its arrival.  The services are not trusted: an answer is bounded in time, from
question to last byte, in size, and in the number of pieces, each of which costs us a turn.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass

from serenity.daemon.clock import Clock
from serenity.qos.sources import network_namespace
from serenity.qos.sources.indicator import Address

MAX_ANSWER_BYTES = 1024 * 1024
MAX_PIECES = 1024
_PIECE_BYTES = 64 * 1024
# Long: a late answer of a starved service is worth more than none, and the sampling does not wait for it.
TIMEOUT_S = 5.0


class ExchangeError(OSError):
    """The service did not answer, or not within the bounds; the text says which."""


@dataclass(frozen=True, slots=True)
class Question:
    """`complete` says whether an answer is whole, and raises ValueError when it never will be.

    `closes`: the service closes the connection after its answer; this completes the answer, too.
    `network_of`: a process in whose network namespace the address is, if it is not in ours.
    """

    address: Address
    request: bytes
    complete: Callable[[bytearray], bool]
    closes: bool = False
    network_of: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    at_s: float  # When the end of the answer arrived; monotonic.
    content: bytes | ExchangeError


class _Exchange:
    """One connection.  `asked_at_s`: since when the question is under way; None: the connection is idle."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self.socket: socket.socket | None = None
        self.asked_at_s: float | None = None
        self.unsent = b""
        self.received = bytearray()
        self.pieces = 0


class Exchanges:
    """The exchanges of one sampler, by the id of the row that each is for."""

    def __init__(self, clock: Clock, timeout_s: float = TIMEOUT_S) -> None:
        self._clock = clock
        self._timeout_s = timeout_s
        self._selector = selectors.DefaultSelector()
        self._exchanges: dict[str, _Exchange] = {}
        self._answers: dict[str, Answer] = {}

    def ask(self, row_id: str, question: Question) -> None:
        """Asks, unless the last question is still under way."""
        exchange = self._exchanges.get(row_id)
        if exchange is not None and exchange.question != question:
            self._close(exchange)
            exchange = None
        if exchange is None:
            exchange = self._exchanges[row_id] = _Exchange(question)
        now_s = self._clock.monotonic_s()
        if exchange.asked_at_s is not None:
            if now_s - exchange.asked_at_s < self._timeout_s:
                return
            self._fail(row_id, exchange, f"no answer within {self._timeout_s:g} s")
        exchange.asked_at_s, exchange.unsent, exchange.pieces = now_s, question.request, 0
        exchange.received.clear()
        try:
            self._connect(exchange)
        except OSError as error:
            self._fail(row_id, exchange, os.strerror(error.errno) if error.errno else str(error))
            return
        assert exchange.socket is not None
        self._selector.register(exchange.socket, selectors.EVENT_WRITE, row_id)

    def collect(self, wait_s: float) -> dict[str, Answer]:
        """The answers since the last call, by row id; waits for at most `wait_s` for those under way."""
        deadline_s = self._clock.monotonic_s() + wait_s
        while self._selector.get_map():
            ready = self._selector.select(max(0.0, deadline_s - self._clock.monotonic_s()))
            for key, _events in ready:
                self._go_on(key.data)
            if not ready or self._clock.monotonic_s() >= deadline_s:
                break
        answers, self._answers = self._answers, {}
        return answers

    def keep(self, row_ids: Collection[str]) -> None:
        for gone in self._exchanges.keys() - set(row_ids):
            self._close(self._exchanges.pop(gone))
            self._answers.pop(gone, None)

    def close(self) -> None:
        self.keep(())
        self._selector.close()

    def _connect(self, exchange: _Exchange) -> None:
        if exchange.socket is not None:
            return
        host, port = exchange.question.address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        if exchange.question.network_of is not None:
            connection = network_namespace.socket_of(exchange.question.network_of, family)
        else:
            connection = socket.socket(family, socket.SOCK_STREAM)
        connection.setblocking(False)
        exchange.socket = connection
        code = connection.connect_ex((host, port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))

    def _go_on(self, row_id: str) -> None:
        """The next step of an exchange whose connection is ready."""
        exchange = self._exchanges[row_id]
        assert exchange.socket is not None  # It was registered.
        try:
            if exchange.unsent:
                self._send(row_id, exchange, exchange.socket)
            else:
                self._receive(row_id, exchange, exchange.socket.recv(_PIECE_BYTES))
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(row_id, exchange, error.strerror or type(error).__name__)
        except ValueError as error:
            self._fail(row_id, exchange, str(error))

    def _send(self, row_id: str, exchange: _Exchange, connection: socket.socket) -> None:
        code = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        exchange.unsent = exchange.unsent[connection.send(exchange.unsent) :]
        if not exchange.unsent:
            self._selector.modify(connection, selectors.EVENT_READ, row_id)

    def _receive(self, row_id: str, exchange: _Exchange, piece: bytes) -> None:
        """Raises ValueError when the answer will never be whole and within the bounds."""
        question = exchange.question
        exchange.received += piece
        exchange.pieces += 1
        if not piece and not (question.closes and exchange.received):
            raise ValueError("it closed the connection")
        if len(exchange.received) > MAX_ANSWER_BYTES:
            raise ValueError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
        if not piece or question.complete(exchange.received):
            self._answers[row_id] = Answer(self._clock.monotonic_s(), bytes(exchange.received))
            self._rest(exchange)
        elif exchange.pieces >= MAX_PIECES:
            raise ValueError(f"an answer in more than {MAX_PIECES} pieces")

    def _rest(self, exchange: _Exchange) -> None:
        """After an answer: keeps the connection for the next question, unless the service closes it."""
        if exchange.question.closes:
            self._close(exchange)
            return
        assert exchange.socket is not None
        self._selector.unregister(exchange.socket)
        exchange.asked_at_s = None

    def _fail(self, row_id: str, exchange: _Exchange, reason: str) -> None:
        self._close(exchange)
        host, port = exchange.question.address
        self._answers[row_id] = Answer(self._clock.monotonic_s(), ExchangeError(f"{host}:{port}: {reason}"))

    def _close(self, exchange: _Exchange) -> None:
        if exchange.socket is not None:
            with contextlib.suppress(KeyError):  # Idle connections are not registered.
                self._selector.unregister(exchange.socket)
            exchange.socket.close()
        exchange.socket, exchange.asked_at_s, exchange.unsent = None, None, b""
