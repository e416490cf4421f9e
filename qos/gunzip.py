"""Reading gzipped files: by isal where it is installed (the extra `replay`), which inflates three times as fast.

A file that was cut off is read up to where it was cut.  The standard library's reader, and isal's, then lose the last
piece, which in a short file is all of it.
"""

from __future__ import annotations

import contextlib
import io
import zlib
from pathlib import Path
from typing import IO, Any

# The errors, beside OSError, that reading a damaged file raises.
BROKEN: tuple[Any, ...] = (EOFError, zlib.error)
_PIECE_BYTES = 1 << 16
_GZIPPED = 16 + zlib.MAX_WBITS
_module: Any = zlib
with contextlib.suppress(ImportError):
    from isal import isal_zlib

    _module, BROKEN = isal_zlib, (*BROKEN, isal_zlib.error)


def opened(path: Path, buffer_bytes: int) -> IO[bytes]:
    """The inflated file, opened for reading.  Raises OSError."""
    return io.BufferedReader(_Inflated(path.open("rb", buffering=0)), buffer_bytes)


class _Inflated(io.RawIOBase):
    """Members one after the other, as gzip(1) reads them."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed = packed
        self._member = _module.decompressobj(_GZIPPED)
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        """Raises EOFError: the file was cut off, and all that is left of it was read."""
        while not self._ready:
            packed = self._packed.read(_PIECE_BYTES)
            if not packed:
                if not self._member.eof:
                    raise EOFError("the file was cut off")
                return 0
            self._ready = memoryview(self._inflate(packed))
        count = min(len(into), len(self._ready))
        into[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def close(self) -> None:
        self._packed.close()
        super().close()

    def _inflate(self, packed: bytes) -> bytes:
        found = b""
        while packed:
            if self._member.eof:
                packed = packed.lstrip(b"\0")  # Zeros that pad a tape are no member.
                if not packed:
                    break
                self._member = _module.decompressobj(_GZIPPED)
            found += self._member.decompress(packed)
            packed = self._member.unused_data
        return found
