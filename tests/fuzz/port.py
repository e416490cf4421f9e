"""Master or agent of a simulation as a server of its network."""

from __future__ import annotations

from collections.abc import Callable

from serenity.localmesos.messages import CallRefused
from tests.fuzz.network import Answer, Json
from tests.fuzz.story import Story
from tests.fuzz.streams import SimStream


class Port:
    def __init__(
        self,
        name: str,
        streams: dict[str, SimStream],
        call: Callable[[Json, str | None], None],
        closed: Callable[[str], None],
        story: Story,
    ) -> None:
        """`streams`: where those that are opened are put; `call` raises CallRefused."""
        self._name = name
        self._streams = streams
        self._call = call
        self._closed = closed
        self._story = story

    def answer(self, path: str, call: Json, stream_id: str | None, open_stream: Callable[[], SimStream]) -> Answer:
        self._story.note(self._name, call)
        stream = None
        if call["type"] == "SUBSCRIBE":
            stream = open_stream()
            self._streams[stream.id] = stream
            stream_id = stream.id
        try:
            self._call(call, stream_id)
        except CallRefused as error:
            self._story.note(self._name, f"refuses it: {error}")
            if stream is not None:
                stream.cut()
            return Answer(error.status, str(error))
        return Answer(202 if stream is None else 200, stream=stream)

    def stream_closed(self, stream_id: str) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._story.note(self._name, f"the stream of {stream.client} is closed")
        self._closed(stream_id)
