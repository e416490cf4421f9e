from __future__ import annotations

import fcntl
import os
from pathlib import Path


class Taken(OSError):  # noqa: N818 - reads as what it says
    """Another process holds the lock; the text names it."""


class FileLock:
    """An exclusive lock on a file, held from construction until `release` or the end of the process.

    Raises:
        Taken: by another process.
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(self._file, 32).decode("ascii", "replace").strip()
            os.close(self._file)
            raise Taken(f"process {owner or '?'} holds {path}") from None
        except OSError:
            os.close(self._file)
            raise
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """The file stays: removing it would let two processes each lock a file of that name."""
        os.close(self._file)
