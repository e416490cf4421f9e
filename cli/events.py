"""Following the framework's events: a stream of server-sent events that is opened again when it ends."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import msgspec

from serenity.cli.client import Framework
from serenity.cli.output import words
from serenity.wire.messages import api
from serenity.wire.transport.http import Unreachable

# The server sends something every ten seconds.
_SILENCE_S = 35.0
_PAUSE_S = 0.5


def follow(framework: Framework, path: str) -> Iterator[api.Event]:
    """Every event from now on, for ever; a restart of the framework loses none.

    Raises Failure when the framework refuses, or cannot be reached before its first event id has come.
    """
    last_id: str | None = None
    away = False
    while True:
        try:
            stream = framework.stream(path, last_id, silence_s=_SILENCE_S)
            if away:
                words("the framework is back")
                away = False
            for event_id, data in parse(stream.chunks()):
                last_id = event_id or last_id
                if data:
                    yield msgspec.json.decode(data, type=api.Event)
        except Unreachable as error:
            if last_id is None:
                raise framework.unreachable(error) from None
        if not away:
            words("the framework has gone away; waiting for it")
            away = True
        time.sleep(_PAUSE_S)


def parse(chunks: Iterable[bytes]) -> Iterator[tuple[str, bytes]]:
    """(id, data) of each event; data is empty for an event that only advances the id."""
    buffer, event_id, data = b"", "", b""
    for chunk in chunks:
        buffer += chunk
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            field, _, value = line.partition(b":")
            if not line:
                if event_id or data:
                    yield event_id, data
                event_id, data = "", b""
            elif field == b"id":
                event_id = value.strip().decode()
            elif field == b"data":
                data += value.strip()
