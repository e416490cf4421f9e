"""The framework's events during the demo, collected as they come."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from serenity.cli.client import Framework
from serenity.cli.events import parse
from serenity.wire.messages import api
from serenity.wire.transport.http import HttpError, Stream, Unreachable


class Happenings:
    """Every event from its construction on, until `stop`.

    `tell` is called with each event, in the collecting thread.  A stream that is cut off ends the
    collection: a demo's framework is not expected to end, and the demo says so if its process does.

    Raises (construction):
        Unreachable, Failure: there is no framework to listen to.
    """

    def __init__(self, framework: Framework, tell: Callable[[api.Event], None]) -> None:
        self._tell = tell
        self._events: list[api.Event] = []
        self._lock = threading.Lock()
        self._stream = framework.stream("/v1/events")
        self._thread = threading.Thread(target=self._collect, args=(self._stream,), name="events", daemon=True)
        self._thread.start()

    def of(self, kind: api.EventType, since: float) -> list[api.Event]:
        """The events of that kind at or after `since`, seconds since the epoch."""
        with self._lock:
            return [each for each in self._events if each.type == kind and each.at >= since]

    def stop(self) -> None:
        self._stream.close()
        self._thread.join()

    def _collect(self, stream: Stream) -> None:
        try:
            for _, data in parse(stream.chunks()):
                if data:
                    event = msgspec.json.decode(data, type=api.Event)
                    with self._lock:
                        self._events.append(event)
                    self._tell(event)
        except (Unreachable, HttpError):
            return
