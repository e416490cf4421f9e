from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from serenity.estimator.kept.packed_frame import PackedFrame, unpack

# Decoded, a line is some five times as large in an executor, which would never give all of that back.
_LINE_BYTES = 1 << 18
# What 90 MB leave of a process that has 58 without it.  Of 600 containers there is room for all frames; of 1,000 for
# three minutes, and detectors learn next to all from one (docs/qos.md).
_BYTES = 32 << 20


class History:
    """The last frames: 300 of 100 containers are some 5 MB."""

    def __init__(self, max_frames: int = 300, max_bytes: int = _BYTES, max_line_bytes: int = _LINE_BYTES) -> None:
        self._frames: deque[PackedFrame] = deque()
        self._bytes = 0
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._max_line_bytes = max_line_bytes

    def add(self, frame: PackedFrame) -> None:
        """The oldest go; the last one stays, whatever its size."""
        self._frames.append(frame)
        self._bytes += len(frame)
        while len(self._frames) > 1 and (len(self._frames) > self._max_frames or self._bytes > self._max_bytes):
            self._bytes -= len(self._frames.popleft())

    def lines(self) -> Iterator[bytes]:
        """`History` messages of what there is now, at most so many bytes where one frame is not more; at least one.

        Each is made when it is asked for: all of them at once are some 100 MB.
        """
        return self._lines(tuple(self._frames))

    def _lines(self, frames: tuple[PackedFrame, ...]) -> Iterator[bytes]:
        line: list[bytes] = []
        size = 0
        for frame in map(unpack, frames):
            if line and size + len(frame) > self._max_line_bytes:
                yield _line(line)
                line, size = [], 0
            line.append(frame)
            size += len(frame) + 1
        yield _line(line)


def _line(frames: list[bytes]) -> bytes:
    return b'{"type":"history","frames":[' + b",".join(frames) + b"]}\n"
