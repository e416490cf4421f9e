"""The last frames on disk, so that an estimator that restarts has a past to hand to executors.

A packed frame of 100 containers is some 18 KB, and there is one a second.  Every ten frames become a new file, and the
oldest file goes.  Frames sampled since the last write are lost if the process is killed; while the disk hangs, frames
that would not fit into the files are lost too.
"""

from __future__ import annotations

import contextlib
import logging
import re
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import msgspec

from serenity.daemon.whole_file import replace_file
from serenity.estimator.kept.packed_frame import PackedFrame, split, unpack
from serenity.estimator.kept.state_writer import StateWriter
from serenity.wire.transport.undecodable import UNDECODABLE

logger = logging.getLogger(__name__)

_FRAMES_A_FILE = 10
_FILES = 30
# Older frames say nothing of the containers on the node now.
_OLDEST_S = 900.0


class _Time(msgspec.Struct):
    t: float


_time = msgspec.json.Decoder(_Time)


class KeptFrames:
    """The frames in a folder of their own; files are named by rising numbers."""

    def __init__(self, folder: Path, writer: StateWriter) -> None:
        self._folder = folder
        self._writer = writer
        self._unwritten: list[PackedFrame] = []
        self._waiting: deque[list[PackedFrame]] = deque(maxlen=_FILES)  # One entry a file, for the writer.
        self._next = max(map(_number, self._entries()), default=-1) + 1
        self._failing = False

    def load(self, now_s: float) -> Iterator[PackedFrame]:
        """Frames of the last minutes, oldest first.  A file that cannot be read is logged, and removed if possible."""
        for file in self._files():
            try:
                frames = list(split(file.read_bytes()))
                times = [_time.decode(unpack(each)).t for each in frames]
            except (OSError, zlib.error, *UNDECODABLE) as error:
                logger.error("some of the past is lost: %s cannot be read: %s", file, error)
                with contextlib.suppress(OSError):  # It is mere history.
                    file.unlink(missing_ok=True)
                continue
            # A frame from the future was taken before the clock was set back.
            yield from (each for each, t in zip(frames, times, strict=True) if now_s - _OLDEST_S < t < now_s)

    def add(self, frame: PackedFrame) -> None:
        self._unwritten.append(frame)
        if len(self._unwritten) >= _FRAMES_A_FILE:
            self.write()

    def write(self) -> None:
        """Queues all frames since the last call for writing.  Never waits."""
        if self._unwritten:
            self._waiting.append(self._unwritten)
            self._unwritten = []
            self._writer.put("frames", self._write_waiting, self._wrote)

    def _write_waiting(self) -> None:
        """Runs in the writer's thread."""
        while self._waiting:
            frames = self._waiting.popleft()
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self._folder / f"{self._next:010d}.z", b"".join(frames), synced=False)
            self._next += 1
        for old in self._files()[:-_FILES]:
            old.unlink(missing_ok=True)

    def _wrote(self, error: OSError | None) -> None:
        if error is not None and not self._failing:
            logger.error("the node's past is not kept: %s", error)
        self._failing = error is not None

    def _files(self) -> list[Path]:
        return [each for each in self._entries() if each.is_file()]

    def _entries(self) -> list[Path]:
        """All entries named by a number, so that none is used twice; what is no file is not ours to read or remove."""
        return sorted(each for each in self._folder.glob("*.z") if re.fullmatch(r"\d+", each.stem))


def _number(file: Path) -> int:
    return int(file.stem)
