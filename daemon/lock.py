"""Locks on files.  The kernel releases a lock when the process that holds it ends, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


class Taken(OSError):  # noqa: N818 - reads as what it says
    """Another process holds the lock; the text names process and file."""


class FileLock:
    """An exclusive lock on a file, held from construction until `release` or the end of the process.

    Raises:
        Taken: another process holds the lock.
        OSError: the file cannot be made or locked; it names the file.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._file = _locked(path)
        # The last holder may have removed the file after we opened it: then what we locked no longer has that name.
        while not _is(self._file, path):
            os.close(self._file)
            self._file = _locked(path)
        with contextlib.suppress(OSError):  # The pid is only for people: a full disk must not prevent locking.
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    @property
    def in_place(self) -> bool:
        """Whether the file is still there under its name, so that other processes find the lock held."""
        return _is(self._file, self._path)

    def release(self) -> None:
        """Removes the file, and only then unlocks it."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def is_held(path: Path) -> bool:
    """Whether a living process holds the lock.  Raises OSError; FileNotFoundError if there is no such file."""
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
        error.filename = str(path)  # flock(2) knows only a descriptor.
        raise
    return file


def _is(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False
