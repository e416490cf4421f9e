"""RecordIO, the framing of Mesos' event streams: ``<length in decimal>\\n<that many bytes>``.

Source: Mesos ``docs/recordio.md``.  Chunk boundaries of the HTTP body mean nothing: a
record may come in many chunks, and a chunk may hold many records.
"""

from __future__ import annotations

from collections.abc import Iterator

# Mesos itself accepts lengths of up to 20 digits.  An event above this size means a broken peer, and buffering on would
# end with the kernel killing the executor for want of memory.
MAX_RECORD_BYTES = 256 * 1024 * 1024
_MAX_LENGTH_DIGITS = 20


class RecordIOError(ValueError):
    """The stream is not RecordIO; nothing after this point can be trusted."""


def encode(record: bytes) -> bytes:
    """Frames one record."""
    return b"%d\n%b" % (len(record), record)


class RecordReader:
    """Cuts a byte stream into records: ``feed`` takes the bytes that arrive, and yields complete records."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._record_bytes: int | None = None  # Known once the length line was read.

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yields every record completed by `chunk`.

        Raises:
            RecordIOError: the length is no decimal number, or too great.
        """
        self._buffer += chunk
        while True:
            if self._record_bytes is None:
                self._record_bytes = self._take_length()
            if self._record_bytes is None or len(self._buffer) < self._record_bytes:
                return
            record = bytes(self._buffer[: self._record_bytes])
            del self._buffer[: self._record_bytes]
            self._record_bytes = None
            yield record

    def _take_length(self) -> int | None:
        end = self._buffer.find(b"\n")
        if end < 0:
            if len(self._buffer) > _MAX_LENGTH_DIGITS:
                raise RecordIOError(f"no record length in {bytes(self._buffer[:40])!r}")
            return None
        digits = bytes(self._buffer[:end])
        if not digits.isdigit() or len(digits) > _MAX_LENGTH_DIGITS:
            raise RecordIOError(f"no record length: {digits[:40]!r}")
        length = int(digits)
        if length > MAX_RECORD_BYTES:
            raise RecordIOError(f"a record of {length} bytes is over the limit of {MAX_RECORD_BYTES}")
        del self._buffer[: end + 1]
        return length
