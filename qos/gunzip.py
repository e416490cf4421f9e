"""Reading gzipped files: by isal where it is installed (the extra `replay`), which inflates three times as fast."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from pathlib import Path
from typing import IO, Any

# What reading a damaged file raises beside OSError.
BROKEN: tuple[Any, ...] = (EOFError, zlib.error)
_module: Any = gzip
with contextlib.suppress(ImportError):
    from isal import igzip, igzip_lib

    _module, BROKEN = igzip, (*BROKEN, igzip_lib.IsalError)


def opened(path: Path, buffer_bytes: int) -> IO[bytes]:
    """For reading.  Raises OSError."""
    return io.BufferedReader(_module.open(path, "rb"), buffer_bytes)
