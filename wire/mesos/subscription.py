"""Keeps one event stream open: opens it, hands its events on, and opens it again when it ends.

This is the IO loop under all three Mesos drivers (scheduler, executor, resource
provider).  It replaces pymesos' own, which waits with ``select`` (which fails beyond 1024
open files, and performance counters hold many), reconnects without a pause after a 503, has
no watchdog for a silent peer, and sends TEARDOWN when a callback raises.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from serenity.wire.transport.http import HttpError, Stream, Unreachable
from serenity.wire.transport.recordio import RecordIOError, RecordReader
from serenity.wire.transport.undecodable import UNDECODABLE, decode_mesos

logger = logging.getLogger(__name__)

Event = dict[str, Any]


class FinalError(Exception):
    """Trying again will not help; the text says what to do."""


class Subscriber(Protocol):
    """The callbacks that a driver gives to its subscription.

    All four are called in the subscription's thread, and none once `Subscription.stop` has
    returned; only an `open` that was then under way may still come to its end.
    """

    def open(self) -> Stream:
        """Sends SUBSCRIBE.  Raises Unreachable or HttpError to be called again later, FinalError to stop."""

    def event(self, event: Event) -> None:
        """Takes an event.  An exception is logged and the stream goes on: one bad event must not cost the tasks."""

    def closed(self, reason: str) -> None:
        """The stream has ended, or could not be opened; called before the pause that precedes the next attempt."""

    def failed(self, error: FinalError) -> None:
        """No further attempt is made."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between attempts: uniform in [0.5, 1] of ``first_s * 2**attempt``, at most `max_s`.

    The jitter keeps a thousand executors from returning to a restarted agent at once.
    """

    first_s: float = 0.1
    max_s: float = 10.0

    def pauses(self) -> Iterator[float]:
        bound_s = min(self.first_s, self.max_s)
        while True:
            yield bound_s * random.uniform(0.5, 1.0)
            bound_s = min(self.max_s, bound_s * 2)


class Subscription:
    """Runs one `Subscriber` in a thread of its own from `start` to `stop`."""

    def __init__(self, subscriber: Subscriber, backoff: Backoff, name: str) -> None:
        self._subscriber = subscriber
        self._backoff = backoff
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._stream: Stream | None = None
        self._progressed = False  # Whether this attempt brought an event.
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Closes the stream and waits for the thread, unless called in it.  May be called twice.

        A peer that hangs while the stream is being opened may outlast `timeout_s`: then the
        thread ends by itself later, and passes no event on.
        """
        self._stopping.set()
        self.reopen()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def reopen(self) -> None:
        """Ends the stream as if the peer had; it is opened again after the first pause."""
        with self._lock:
            stream = self._stream
        if stream is not None:
            stream.close()

    def join(self, timeout_s: float | None = None) -> None:
        """Waits until no further attempt will be made; returns at once if `start` was never called."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def _run(self) -> None:
        pauses = self._backoff.pauses()
        while not self.stopping:
            self._progressed = False
            try:
                reason = self._attempt()
            except FinalError as error:
                if not self.stopping:
                    self._tell(self._subscriber.failed, error)
                return
            except (Unreachable, HttpError, RecordIOError) as error:
                reason = str(error)
            except Exception as error:  # A driver whose thread died in silence would be worse than any retry.
                logger.exception("unforeseen, in opening or reading a stream")
                reason = repr(error)
            if self._progressed:
                pauses = self._backoff.pauses()
            if self.stopping:
                return
            self._tell(self._subscriber.closed, reason)
            self._stopping.wait(next(pauses))

    def _attempt(self) -> str:
        """Opens the stream and reads it to its end; returns why it ended."""
        stream = self._subscriber.open()
        with self._lock:
            self._stream = stream
        try:
            if self.stopping:
                stream.close()  # `stop` came while we were opening, and saw no stream to close.
            self._read(stream)
            return "the peer ended the stream" if stream.ended_by_peer else "the stream was closed, to subscribe again"
        finally:
            with self._lock:
                self._stream = None
            stream.close()

    def _read(self, stream: Stream) -> None:
        """Passes events to the subscriber until the stream ends."""
        reader = RecordReader()
        with contextlib.closing(stream.chunks()) as chunks:
            for chunk in chunks:
                for record in reader.feed(chunk):
                    try:
                        event = decode_mesos(record)
                    except UNDECODABLE as error:
                        raise RecordIOError(f"an event is no JSON: {record[:80]!r}") from error
                    if self.stopping:
                        return
                    self._progressed = True
                    self._tell(self._subscriber.event, event)

    def _tell(self, callback: Callable[[Any], None], argument: Any) -> None:
        try:
            callback(argument)
        except FinalError:
            raise
        except Exception:
            logger.exception("in a callback, for %.200r", argument)
