"""Server-sent events: every event from the store on, to clients that come and go.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html.  Each event's id is
sent with it, so that a client which returns with ``Last-Event-ID`` misses nothing, be it
after a cut connection or a restart of the framework.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import msgspec

from serenity.daemon.metrics import MetricsTable
from serenity.wire.messages import api

_EVENTS_A_READ = 500
# A client knows by these that we live, and we learn by them that it is gone.
KEEP_ALIVE_S = 10.0

Read = Callable[[int, int, str | None], list[api.Event]]


class Watchers:
    def __init__(self, read: Read, last_event_id: int, metrics: MetricsTable) -> None:
        """`read` gives events after an id, at most so many, of one job or all, oldest first."""
        self._read = read
        self._last_id = last_event_id
        self._news = threading.Condition()
        self._metrics = metrics
        self._watching = 0
        self._closed = False

    def tell(self, last_event_id: int) -> None:
        """Events up to this id are in the store."""
        with self._news:
            self._last_id = last_event_id
            self._news.notify_all()

    def close(self) -> None:
        """Ends all streams."""
        with self._news:
            self._closed = True
            self._news.notify_all()

    def stream(self, after: int | None, job_id: str | None = None) -> Iterator[bytes]:
        """From the event after `after` on; None: from now on."""
        cursor = self._last_id if after is None else after
        self._count(+1)
        try:
            yield b"id: %d\n\n" % cursor  # Whoever is cut off before the first event returns to here.
            while not self._closed:
                seen = self._last_id  # Before the read: what is told from now on may not be in it.
                events = self._read(cursor, _EVENTS_A_READ, job_id)
                for event in events:
                    cursor = event.id
                    yield b"id: %d\nevent: %b\ndata: %b\n\n" % (
                        event.id,
                        event.type.value.encode(),
                        msgspec.json.encode(event),
                    )
                if len(events) == _EVENTS_A_READ:
                    continue
                if not self._wait(seen):
                    yield b": alive\n\n"
        finally:
            self._count(-1)

    def _wait(self, seen: int) -> bool:
        """Until there may be more after `seen`; False when the time was up first."""
        with self._news:
            return self._news.wait_for(lambda: self._closed or self._last_id > seen, timeout=KEEP_ALIVE_S)

    def _count(self, by: int) -> None:
        self._watching += by
        self._metrics.set("serenity_framework_watchers", self._watching)
