"""The journal: what the executor did to tasks and what came of it, a line of JSON each, beside the tasks' sandboxes.

    {"type": "correction", …}      as it is told to the framework (wire/messages/corrections.py)
    {"type": "outcome", …}         what a correction has led to
    {"type": "kill", "record": …}  a kill record, whole

Each line is synced; a thread of its own waits for the disk, main never does.  The file is
bounded: a full one takes the place of the one before it, ``journal.jsonl.1``.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from pathlib import Path

import msgspec

from serenity.wire.messages.corrections import Correction, Outcome
from serenity.wire.messages.kill_record import KillRecord, RecordError

logger = logging.getLogger(__name__)

NAME = "journal.jsonl"
MAX_BYTES = 4 * 1024 * 1024
# Lines that wait for a disk that hangs; more are lost, and counted: how many is said once it goes on.
_WAITING_LINES = 10_000
_LAST_WORDS_S = 0.5


class Journal:
    """`append` from any thread, and never waits."""

    def __init__(self, sandbox: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path = sandbox / NAME
        self._max_bytes = max_bytes
        self._waiting: queue.Queue[bytes | None] = queue.Queue(_WAITING_LINES)
        self._losing = threading.Lock()  # Of these two.
        self._lost = 0
        self._hangs = False
        self._failing = False
        self._thread = threading.Thread(target=self._write_all, name="journal", daemon=True)
        self._thread.start()

    def append(self, entry: Correction | Outcome | KillRecord) -> None:
        try:
            line = _kill_line(entry) if isinstance(entry, KillRecord) else msgspec.json.encode(entry)
            self._waiting.put_nowait(line + b"\n")
        except RecordError as error:
            logger.error("not in the journal: %s", error)
        except queue.Full:
            with self._losing:
                self._lost += 1
                first, self._hangs = not self._hangs, True
            if first:
                logger.error("the journal's disk hangs: lines are lost")

    def close(self) -> None:
        """Writes what is waiting, if the disk does."""
        try:
            self._waiting.put(None, timeout=_LAST_WORDS_S)
        except queue.Full:
            return  # It has been said already that the disk hangs.
        self._thread.join(_LAST_WORDS_S)

    def _write_all(self) -> None:
        while (line := self._waiting.get()) is not None:
            try:
                self._write(line)
            except OSError as error:
                if not self._failing:
                    logger.error("%s cannot be written: %s", self.path, error.strerror)
                self._failing = True
                with self._losing:
                    self._lost += 1
            else:
                self._failing = False
                if self._waiting.empty():  # Not before: a disk that is merely slow is soon behind again.
                    self._say_lost()
        self._say_lost()

    def _say_lost(self) -> None:
        with self._losing:
            lost, self._lost, self._hangs = self._lost, 0, False
        if lost:
            logger.error("%d lines were lost to the journal", lost)

    def _write(self, line: bytes) -> None:
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            size = os.fstat(file).st_size
            if size and size + len(line) > self._max_bytes:
                os.replace(self.path, self.path.with_name(f"{NAME}.1"))
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_EXCL
                # Only once there is a new one is the full one closed here: else `finally` would close it again.
                full, file = file, os.open(self.path, flags, 0o600)
                os.close(full)
            elif size and os.pread(file, 1, size - 1) != b"\n":
                line = b"\n" + line  # One that was killed, or a disk that was full, has left half a line.
            written = os.write(file, line)
            os.fsync(file)
            if written < len(line):
                raise OSError(0, f"{written} of {len(line)} bytes were written")
        finally:
            os.close(file)


def _kill_line(record: KillRecord) -> bytes:
    """Raises RecordError."""
    return b'{"type":"kill","record":' + record.encode() + b"}"
