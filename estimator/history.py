from __future__ import annotations

from collections import deque
from collections.abc import Iterator

# Decoded, a line is some five times as large in an executor, which would never give all of that back.
_LINE_BYTES = 1 << 18


class History:
    """The last frames, as encoded JSON: 300 of 100 containers are some 15 MB."""

    def __init__(self, max_frames: int = 300, max_line_bytes: int = _LINE_BYTES) -> None:
        self._frames: deque[bytes] = deque(maxlen=max_frames)
        self._max_line_bytes = max_line_bytes

    def add(self, frame: bytes) -> None:
        self._frames.append(frame)

    def lines(self) -> Iterator[bytes]:
        """`History` messages, of at most so many bytes where one frame is not more; at least one."""
        line: list[bytes] = []
        size = 0
        for frame in self._frames:
            if line and size + len(frame) > self._max_line_bytes:
                yield _line(line)
                line, size = [], 0
            line.append(frame)
            size += len(frame) + 1
        yield _line(line)


def _line(frames: list[bytes]) -> bytes:
    return b'{"type":"history","frames":[' + b",".join(frames) + b"]}\n"
