"""Locks on files, which the kernel lets go of when their holder ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


class Taken(OSError):  # noqa: N818 - reads as what it says
    """Another process holds the lock; the text names it."""


class FileLock:
    """An exclusive lock on a file, held from construction until `release` or the end of the process.

    Raises:
        Taken: by another process.
        OSError: the file cannot be made or locked; it names the file.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._file = _locked(path)
        # Whoever held it may have removed it after we had opened it: what we have locked then is no file of that name.
        while not _is(self._file, path):
            os.close(self._file)
            self._file = _locked(path)
        with contextlib.suppress(OSError):  # For people alone: a disk that is full keeps nobody from locking.
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    @property
    def in_place(self) -> bool:
        """Whether others still find it held: nobody has removed the file."""
        return _is(self._file, self._path)

    def release(self) -> None:
        """Removes the file, and only then unlocks it."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock of this name.  Raises OSError, FileNotFoundError where there is none."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(file)
    return False


def _locked(path: Path) -> int:
    """A descriptor of the file, locked.  Raises Taken or OSError."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(file, 32).decode("ascii", "replace").strip()
        os.close(file)
        raise Taken(f"process {owner or '?'} holds {path}") from None
    except OSError as error:
        os.close(file)
        error.filename = str(path)  # The call knows a number only.
        raise
    return file


def _is(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
