"""Keeps a task's stdout and stderr small: output beyond a limit moves to a file beside, and the file before that goes.

The task appends to its files itself; nobody copies what it writes, and it runs on whatever
becomes of us.  So a file is cut under its hands: its last part is copied to ``stdout.OFFSET``,
named for the byte of the whole output that it begins with, and as much is taken off the front
(`wire/messages/sandbox.py` says how they are read).  ext4 and XFS take off exactly what was copied
(FALLOC_FL_COLLAPSE_RANGE), and nothing is lost.  Elsewhere the file is emptied, and what is written
between the last look at it and that (microseconds) is lost.

The folder belongs to the task's user, who may put anything there in place of its output: no link
is followed, and only the very file that we made is cut.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from serenity.wire.messages.sandbox import Output, rotated_name

logger = logging.getLogger(__name__)

_COLLAPSE_RANGE = 0x08  # linux/falloc.h
_COPYING = ".{}.rotating"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# A task may still write while its last bytes are copied; after so many looks the rest is lost.
_LOOKS = 3


class OutputFile:
    """One of a task's two outputs; made for the file as the launch has left it."""

    def __init__(self, folder: Path, name: Output, limit_bytes: int) -> None:
        """Raises OSError."""
        self._folder = folder
        self._name = name
        self._path = str(folder / name)
        self._limit_bytes = limit_bytes
        found = os.lstat(self._path)
        self._identity = (found.st_dev, found.st_ino)
        self._starts_at = 0  # Of the whole output, where the file begins now.
        self._before: str | None = None  # The file with what came before.

    def rotate_if_large(self) -> bool:
        """Whether it was.  Raises OSError; what could not be copied for want of room is let go."""
        try:
            found = os.lstat(self._path)
        except FileNotFoundError:
            return False  # The task has removed it.
        # A file with holes may have any size; and the file system may have reserved more blocks than the size says.
        small = min(found.st_size, found.st_blocks * 512) <= self._limit_bytes
        if small or (found.st_dev, found.st_ino) != self._identity:
            return False
        with (
            _opened(os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)) as folder,
            _opened(os.open(self._name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)) as file,
        ):
            found = os.fstat(file)
            if (found.st_dev, found.st_ino) != self._identity:
                return False
            self._rotate(folder, file)
            return True

    def _rotate(self, folder: int, file: int) -> None:
        owner = os.fstat(file)
        before, copying = self._before, _COPYING.format(self._name)
        _remove(folder, copying)
        copy = os.open(copying, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=folder)
        with _opened(copy):
            if os.geteuid() == 0:
                os.fchown(copy, owner.st_uid, owner.st_gid)
            moved = self._move(file, copy)
            self._before = rotated_name(self._name, self._starts_at + moved.end - moved.kept_bytes)
            # Last: until then a reader finds less than it knew of, and asks again.
            os.rename(copying, self._before, src_dir_fd=folder, dst_dir_fd=folder)
        self._starts_at += moved.end
        if before is not None:
            _remove(folder, before)

    def _move(self, file: int, copy: int) -> _Moved:
        block_bytes = os.fstat(file).st_blksize
        end = (os.fstat(file).st_size - 1) // block_bytes * block_bytes  # All of it may not be collapsed.
        begin = max(0, end - self._limit_bytes)
        kept = _copied(file, copy, begin, end)
        if _collapse(file, end):
            return _Moved(end, kept)
        for _ in range(_LOOKS):
            if (size := os.fstat(file).st_size) == end:
                break
            kept += _copied(file, copy, end, size)
            end = size
        os.ftruncate(file, 0)
        return _Moved(end, kept)


@dataclass(frozen=True, slots=True)
class _Moved:
    end: int  # Of what is no longer in the file.
    kept_bytes: int  # Of that, the last ones.


def _copied(source: int, target: int, begin: int, end: int) -> int:
    """How many of these bytes are in the copy: all, or none when there is no room for them."""
    before = os.fstat(target).st_size
    try:
        at = begin
        while at < end:
            done = os.sendfile(target, source, at, end - at)
            if not done:
                break  # It has become shorter: the task has cut it itself.
            at += done
        return at - begin
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        logger.warning("no room to keep %d bytes of a task's output: %s", end - begin, error.strerror)
        os.ftruncate(target, before)
        os.lseek(target, before, os.SEEK_SET)
        return 0


def _collapse(file: int, size: int) -> bool:
    """Takes `size` bytes, whole blocks, off the front; False where the file system cannot."""
    libc = ctypes.CDLL(None, use_errno=True)
    if size <= 0:
        return False
    return bool(libc.fallocate(file, _COLLAPSE_RANGE, ctypes.c_int64(0), ctypes.c_int64(size)) == 0)


def _remove(folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):  # A directory is not ours.
        os.unlink(name, dir_fd=folder)


@contextlib.contextmanager
def _opened(file: int) -> Iterator[int]:
    try:
        yield file
    finally:
        os.close(file)
