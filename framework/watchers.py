"""Server-sent events: every event from the store on, to clients that come and go.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html.  Each event's id is
sent with it, so that a client which returns with ``Last-Event-ID`` misses nothing, be it
after a cut connection or a restart of the framework.

What is new is handed on from memory, encoded once for all; only who comes from longer ago
reads the store.  Watchers together may cost no more than a share of the process: they take
turns (`Turns`), and who has to wait then gets more at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from serenity.daemon.clock import Clock, SystemClock
from serenity.daemon.metrics import MetricsTable
from serenity.wire.messages import api
from serenity.wire.messages.api import EventType

_EVENTS_A_READ = 500
_EVENTS_A_TURN = 500
# Some 400 bytes each, and kept twice at most.
_KEPT_EVENTS = 20_000
# A client knows by these that we live, and we learn by them that it is gone.
KEEP_ALIVE_S = 10.0

# Of one CPU, for all watchers together.
_SHARE = 0.05
# Measured: what it takes to wake a watcher and to send to it, what each byte adds, and each event that is read again.
_TURN_S = 250e-6
_BYTE_S = 2.5e-9
_READ_S = 15e-6

Read = Callable[[int, int, str | None], list[api.Event]]


class Turns:
    """When the next watcher may go on, so that all of them take `share` of a CPU, and wait in line for it."""

    def __init__(self, clock: Clock, share: float = _SHARE) -> None:
        self._clock = clock
        self._share = share
        self._free_at_s = 0.0

    def take(self) -> float:
        """The next turn; for how long to wait for it."""
        now_s = self._clock.monotonic_s()
        start_s = max(now_s, self._free_at_s)
        self._free_at_s = start_s + _TURN_S / self._share
        return start_s - now_s

    def pay(self, cost_s: float) -> None:
        """For what was done in a turn; the next ones come the later."""
        self._free_at_s += cost_s / self._share


@dataclass(frozen=True, slots=True)
class _Sent:
    """An event as it is sent."""

    id: int
    job: str | None
    kind: EventType
    frame: bytes

    @classmethod
    def of(cls, event: api.Event) -> _Sent:
        frame = b"id: %d\nevent: %b\ndata: %b\n\n" % (event.id, event.type.encode(), msgspec.json.encode(event))
        return cls(event.id, event.job, event.type, frame)


class Watchers:
    def __init__(self, read: Read, last_event_id: int, metrics: MetricsTable, clock: Clock | None = None) -> None:
        """`read` gives events after an id, at most so many, of one job or all, oldest first."""
        self._read = read
        self._last_id = last_event_id
        self._kept: list[_Sent] = []  # Without a gap, up to `_last_id`.
        self._news = threading.Condition()
        self._metrics = metrics
        self._turns = Turns(clock or SystemClock())
        self._watching = 0
        self._closed = threading.Event()

    def tell(self, last_event_id: int, events: Sequence[api.Event] = ()) -> None:
        """Events up to this id are in the store; `events` are the last of them, where they are at hand."""
        with self._news:
            if last_event_id == self._last_id:
                return
            if not self._watching or not events or (self._kept and events[0].id != self._kept[-1].id + 1):
                self._kept = []
            if self._watching:
                self._kept.extend(map(_Sent.of, events))
            if len(self._kept) > 2 * _KEPT_EVENTS:
                self._kept = self._kept[-_KEPT_EVENTS:]
            self._last_id = last_event_id
            self._news.notify_all()

    def close(self) -> None:
        """Ends all streams."""
        with self._news:
            self._closed.set()
            self._news.notify_all()

    def stream(self, after: int | None, job_id: str | None = None, kind: EventType | None = None) -> Iterator[bytes]:
        """From the event after `after` on; None: from now on.  Of one job, of one kind, or all."""
        cursor = self._last_id if after is None else after
        self._count(+1)
        try:
            yield b"id: %d\n\n" % cursor  # Whoever is cut off before the first event returns to here.
            while not self._closed.is_set():
                self._closed.wait(self._turns.take())
                seen = self._last_id  # Before the look: what is told from now on may not be in it.
                events, cursor = self._after(cursor, seen, job_id)
                sent = b"".join(each.frame for each in events if kind in (None, each.kind))
                if sent:
                    self._turns.pay(len(sent) * _BYTE_S)
                    yield sent
                if cursor >= seen and not self._wait(seen):
                    yield b": alive\n\n"
        finally:
            self._count(-1)

    def _after(self, cursor: int, seen: int, job_id: str | None) -> tuple[list[_Sent], int]:
        """The next events, and up to which id there are no others."""
        if cursor >= seen:
            return [], cursor
        kept = self._kept
        if kept and cursor + 1 >= kept[0].id:
            first = cursor + 1 - kept[0].id
            found = kept[first : first + _EVENTS_A_TURN]
            return [each for each in found if job_id in (None, each.job)], found[-1].id if found else seen
        read = [_Sent.of(each) for each in self._read(cursor, _EVENTS_A_READ, job_id)]
        self._turns.pay(len(read) * _READ_S)
        whole = len(read) < _EVENTS_A_READ
        return read, max([seen if whole else cursor, *(each.id for each in read[-1:])])

    def _wait(self, seen: int) -> bool:
        """Until there may be more after `seen`; False when the time was up first."""
        with self._news:
            return self._news.wait_for(lambda: self._closed.is_set() or self._last_id > seen, timeout=KEEP_ALIVE_S)

    def _count(self, by: int) -> None:
        self._watching += by
        self._metrics.set("serenity_framework_watchers", self._watching)
