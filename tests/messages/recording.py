"""What went over the wire: one line a message, as in the transcripts of a real Mesos, and the shapes in it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Line:
    """One message.

    Attributes:
        side: ``scheduler``, ``executor`` or ``provider``.
        direction: ``call``, ``event``, or ``response`` (what a call was answered with: its type, HTTP status, headers).
    """

    side: str
    direction: str
    body: Any
    at: float = 0.0  # Seconds since the epoch.

    @property
    def kind(self) -> str:
        """What it is; for an update with its state, source and reason, which decide what else is in it."""
        kind = str(self.body["type"])
        status = self.body.get("update", {}).get("status")
        if status is not None:
            said = (status.get(each) for each in ("state", "source", "reason"))
            kind = " ".join([kind, *(each for each in said if each is not None)])
        return f"{self.side} {self.direction} {kind}"

    def to_json(self) -> str:
        return json.dumps({"t": round(self.at, 3), "side": self.side, "dir": self.direction, "body": self.body})

    @classmethod
    def from_json(cls, text: str) -> Line:
        fields = json.loads(text)
        return cls(fields["side"], fields["dir"], fields["body"], fields["t"])


class Recording:
    """Lines in the order in which they were sent; added to by many threads."""

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self._lines = list(lines)
        self._lock = threading.Lock()

    @classmethod
    def read(cls, *files: Path) -> Recording:
        return cls(Line.from_json(text) for file in files for text in file.read_text().splitlines())

    def add(self, side: str, direction: str, body: Any) -> None:
        with self._lock:
            self._lines.append(Line(side, direction, body, time.time()))

    def __iter__(self) -> Iterator[Line]:
        with self._lock:
            return iter(self._lines.copy())

    def of(self, side: str, direction: str) -> list[Any]:
        """The bodies of one side's calls, events or responses."""
        return [each.body for each in self if (each.side, each.direction) == (side, direction)]

    def silent_s(self, side: str) -> float:
        """For how long nothing has been said by or to that side."""
        return time.time() - max((each.at for each in self if each.side == side), default=0.0)

    @property
    def kinds(self) -> set[str]:
        return {each.kind for each in self}

    def shapes(self) -> dict[str, set[str]]:
        """By kind, every place in any message of it, with the JSON type that stands there."""
        found: dict[str, set[str]] = {}
        for line in self:
            found.setdefault(line.kind, set()).update(places(line.body))
        return found


def places(value: Any, path: str = "") -> Iterator[str]:
    """Such as ``update.status.labels.labels[].key: string``; the items of a list are one place."""
    if isinstance(value, dict):
        yield f"{path}: object"
        for name, content in value.items():
            yield from places(content, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        yield f"{path}: list"
        for each in value:
            yield from places(each, f"{path}[]")
    else:
        yield f"{path}: {_TYPES[type(value)]}"


_TYPES = {str: "string", int: "number", float: "number", bool: "boolean", type(None): "null"}
