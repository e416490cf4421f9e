"""Server-sent events: every event from the store on, to clients that come and go.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html.  Each event's id is
sent with it, so that a client which returns with ``Last-Event-ID`` misses nothing, be it
after a cut connection or a restart of the framework.

What is new is handed on from memory, encoded once for all.  A watcher that comes from longer ago, or has fallen
behind, reads the store, in pages that the next watchers find in memory.  Watchers together may cost no more than a
share of the process: they stand in line (`Turns`), and a watcher that has to wait gets more at once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from serenity.daemon.clock import Clock
from serenity.daemon.metrics import MetricsTable
from serenity.wire.messages import api
from serenity.wire.messages.api import EventType

_EVENTS_A_READ = 500
_EVENTS_A_TURN = 500
# Some 400 bytes each, and kept twice at most; and pages of `_EVENTS_A_READ`.
_KEPT_EVENTS = 20_000
_KEPT_PAGES = 40
# A client knows by these that we live, and we learn by them that it is gone.
KEEP_ALIVE_S = 10.0
_ALIVE = b": alive\n\n"

# Of one CPU, for all watchers together.
_SHARE = 0.05
# Measured: what it takes to wake a watcher and to send to it, what each byte adds, and each event that is read again.
_TURN_S = 250e-6
_BYTE_S = 2.5e-9
_READ_S = 15e-6

Read = Callable[[int, int, str | None], list[api.Event]]


class Place:
    """A watcher's, in the line of `Turns`."""

    __slots__ = ("away", "turn")

    def __init__(self) -> None:
        self.turn = threading.Event()
        self.away = False


class Turns:
    """Which watcher is next: one at a time, in the order in which they came, and so far apart that all of them take
    `share` of a CPU."""

    def __init__(self, clock: Clock, share: float = _SHARE) -> None:
        self._clock = clock
        self._share = share
        self._line: deque[Place] = deque()
        self._going: Place | None = None
        self._changing = threading.Lock()
        self._free_at_s = 0.0

    def enter(self) -> Place:
        """A place in the line; its `turn` is set when all before it have left."""
        place = Place()
        with self._changing:
            self._line.append(place)
            self._call_next()
        return place

    def step_aside(self, place: Place) -> bool:
        """Others go first until this watcher is `back`, for its client may keep it; False: its turn has come."""
        with self._changing:
            place.away = place is not self._going
        return place.away

    def back(self, place: Place) -> None:
        with self._changing:
            place.away = False
            self._call_next()

    def wait_s(self) -> float:
        """How long the watcher whose turn it is has to wait, for what those before it have cost."""
        return max(0.0, self._free_at_s - self._clock.monotonic_s())

    def leave(self, place: Place, cost_s: float) -> None:
        """`cost_s`: of what was done, or will be at once."""
        with self._changing:
            self._line.remove(place)
            self._free_at_s = max(self._free_at_s, self._clock.monotonic_s()) + cost_s / self._share
            if place is self._going:
                self._going = None
                self._call_next()

    def _call_next(self) -> None:
        if self._going is None:
            self._going = next((each for each in self._line if not each.away), None)
            if self._going is not None:
                self._going.turn.set()


class _Sent(msgspec.Struct, frozen=True, gc=False):
    """An event as it is sent."""

    id: int
    job: str | None
    kind: EventType
    frame: bytes

    @classmethod
    def of(cls, event: api.Event) -> _Sent:
        frame = b"id: %d\nevent: %b\ndata: %b\n\n" % (event.id, event.type.encode(), msgspec.json.encode(event))
        return cls(event.id, event.job, event.type, frame)


class _Page(NamedTuple):
    """Events that do not change any more: all there are up to `last_id`."""

    events: list[_Sent]
    last_id: int


class Watchers:
    def __init__(self, read: Read, last_event_id: int, metrics: MetricsTable, clock: Clock) -> None:
        """`read` gives events after an id, at most so many, of one job or all, oldest first."""
        self._read = read
        self._last_id = last_event_id
        self._kept: list[_Sent] = []  # Without a gap, up to `_last_id`.
        self._pages: OrderedDict[int, _Page] = OrderedDict()  # By the id before the first; the last one used is last.
        self._news = threading.Condition()
        self._metrics = metrics
        self._turns = Turns(clock)
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
                place, cost_s = self._turns.enter(), 0.0
                try:
                    while not place.turn.wait(KEEP_ALIVE_S):
                        if self._turns.step_aside(place):  # A client that does not read would hold up all others.
                            yield _ALIVE
                            self._turns.back(place)
                    self._closed.wait(self._turns.wait_s())
                    seen = self._last_id  # Before the look: what is told from now on may not be in it.
                    events, cursor, cost_s = self._after(cursor, seen, job_id)
                    sent = b"".join(each.frame for each in events if kind in (None, each.kind))
                    cost_s += _TURN_S + len(sent) * _BYTE_S
                finally:
                    self._turns.leave(place, cost_s)
                if sent or cursor < seen:
                    yield sent or b"id: %d\n\n" % cursor
                if cursor >= seen and not self._wait(seen):
                    yield _ALIVE
        finally:
            self._count(-1)

    def _after(self, cursor: int, seen: int, job_id: str | None) -> tuple[list[_Sent], int, float]:
        """The next events, up to which id there are no others, and what it cost to read them."""
        if cursor >= seen:
            return [], cursor, 0.0
        kept = self._kept
        if kept and cursor + 1 >= kept[0].id:
            first = cursor + 1 - kept[0].id
            found = kept[first : first + _EVENTS_A_TURN]
            return [each for each in found if job_id in (None, each.job)], found[-1].id if found else seen, 0.0
        if job_id is None and (before := cursor - cursor % _EVENTS_A_READ) + _EVENTS_A_READ <= seen:
            page, cost_s = self._page(before, seen)
            return [each for each in page.events if each.id > cursor], page.last_id, cost_s
        read = [_Sent.of(each) for each in self._read(cursor, _EVENTS_A_READ, job_id)]
        whole = len(read) < _EVENTS_A_READ
        return read, max([seen if whole else cursor, *(each.id for each in read[-1:])]), len(read) * _READ_S

    def _page(self, before: int, seen: int) -> tuple[_Page, float]:
        """Of the `_EVENTS_A_READ` ids after `before`, or, where they were forgotten, nothing up to the first that was
        not; and what it cost."""
        cost_s = 0.0
        if before not in self._pages:
            read = self._read(before, _EVENTS_A_READ, None)
            last_id = max(before + _EVENTS_A_READ, read[0].id - 1 if read else seen)
            self._pages[before] = _Page([_Sent.of(each) for each in read if each.id <= last_id], last_id)
            cost_s = len(read) * _READ_S
            if len(self._pages) > _KEPT_PAGES:
                self._pages.popitem(last=False)
        self._pages.move_to_end(before)
        return self._pages[before], cost_s

    def _wait(self, seen: int) -> bool:
        """Until there may be more after `seen`; False when the time was up first."""
        with self._news:
            return self._news.wait_for(lambda: self._closed.is_set() or self._last_id > seen, timeout=KEEP_ALIVE_S)

    def _count(self, by: int) -> None:
        self._watching += by
        self._metrics.set("serenity_framework_watchers", self._watching)
