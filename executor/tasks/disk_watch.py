"""Watches what tasks put on the disk: cuts outputs, measures sandboxes, and removes the sandboxes of ended tasks.

In a thread of its own, for a disk can be slow, and main must not wait for it.  Only what is in a
sandbox is counted; what a task writes elsewhere, or has removed and still holds open, is not.
Mesos collects a sandbox with its executor's end, and ours may live for months.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from serenity.executor.tasks.limits import Breach
from serenity.executor.tasks.outputs import OutputFile
from serenity.wire.mesos.quantities import format_mem
from serenity.wire.messages.reasons import Reason
from serenity.wire.messages.sandbox import Output, task_folder

logger = logging.getLogger(__name__)

_CUT_EVERY_S = 1.0
_MEASURE_EVERY_S = 3.0
# A sandbox may hold a million files: measuring takes some hundredths of a core, and its time.
_FILES_A_STEP = 500
_REST_S = 0.05
# Each level is an open file of ours.
_DEEPEST = 50
_BLOCK_BYTES = 512  # Of st_blocks, whatever the file system's are.
# Share of the disk that should stay free: Mesos' own `--gc_disk_headroom`.
_HEADROOM = 0.1
# Somebody may be about to read why his task has failed.
_LEAST_KEPT_S = 600.0


@dataclass(slots=True)
class _Watched:
    folder: Path
    limit_bytes: int
    outputs: list[OutputFile]
    over: bool = False
    ailing: bool = False  # And that has been logged.


class DiskWatch:
    """`add` and `remove` are main's; `over` is called in the watch's own thread, once for each task at most."""

    def __init__(self, sandbox: Path, output_bytes: int, kept_s: float, over: Callable[[str, Breach], None]) -> None:
        """`kept_s`: how long an ended task's sandbox is kept while the disk is empty (see `kept_for_s`)."""
        self._sandbox = sandbox
        self._output_bytes = output_bytes
        self._kept_s = kept_s
        self._over = over
        self._watched: dict[str, _Watched] = {}
        self._ended: deque[tuple[float, Path]] = deque()  # When, monotonic; the oldest first.
        self._cut_s = self._measure_s = 0.0  # When they are due again, monotonic.
        self._measuring: Iterator[None] | None = None
        self._removing: Iterator[None] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="disk", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Does not wait: the disk may hang."""
        self._stopping.set()

    def add(self, task_id: str, limit_bytes: int) -> None:
        """A task whose output files are there."""
        folder = self._sandbox / task_folder(task_id)
        outputs = []
        for name in get_args(Output):
            try:
                outputs.append(OutputFile(folder, name, self._output_bytes))
            except OSError as error:  # The task has removed its output already.
                logger.warning("the %s of %s is not cut: %s", name, task_id, error)
        self._watched[task_id] = _Watched(folder, limit_bytes, outputs)

    def remove(self, task_id: str) -> None:
        """A task that has ended, or was never added."""
        watched = self._watched.pop(task_id, None)
        if watched is not None:
            self._ended.append((time.monotonic(), watched.folder))

    def _run(self) -> None:
        pause_s = 0.0
        while not self._stopping.wait(pause_s):
            try:
                pause_s = self._look()
            except Exception:
                # An odd task must not leave the others unwatched.
                logger.exception("a look at the tasks' disk failed; going on")
                self._measuring = self._removing = None
                pause_s = _MEASURE_EVERY_S

    def _look(self) -> float:
        """Does what is due, a step of what takes long; for how long to rest then, in seconds."""
        now_s = time.monotonic()
        if now_s >= self._cut_s:
            self._cut_outputs()
            self._cut_s = now_s + _CUT_EVERY_S
        if self._measuring is None and now_s >= self._measure_s:
            self._measuring = self._measure()
            if self._removing is None:
                self._removing = self._collect(now_s)
        if self._removing is not None and not _goes_on(self._removing):
            self._removing = None
        if self._measuring is not None and not _goes_on(self._measuring):
            self._measuring, self._measure_s = None, now_s + _MEASURE_EVERY_S
        if self._measuring is not None or self._removing is not None:
            return _REST_S
        return max(0.0, self._cut_s - time.monotonic())

    def _cut_outputs(self) -> None:
        for task_id, watched in list(self._watched.items()):
            try:
                for output in watched.outputs:
                    output.rotate_if_large()
            except OSError as error:
                if not watched.ailing:
                    logger.warning("the output of %s cannot be cut: %s", task_id, error)
                watched.ailing = True

    def _collect(self, now_s: float) -> Iterator[None]:
        """Removes the sandboxes that have been kept for long enough, in steps."""
        if not self._ended:
            return
        disk = os.statvfs(self._sandbox)
        kept_s = kept_for_s(self._kept_s, 1.0 - disk.f_bavail / max(1, disk.f_blocks))
        while self._ended and now_s - self._ended[0][0] >= kept_s:
            _, folder = self._ended.popleft()
            try:
                for files, _ in enumerate(removed(folder)):
                    if files % _FILES_A_STEP == 0:
                        yield
            except OSError as error:
                logger.warning("the sandbox %s of an ended task is left: %s", folder, error)

    def _measure(self) -> Iterator[None]:
        """All sandboxes once, in steps."""
        files = 0
        for task_id, watched in list(self._watched.items()):
            used_bytes = 0.0
            for each in _sizes(watched.folder):
                used_bytes += each
                files += 1
                if files % _FILES_A_STEP == 0:
                    yield
            if used_bytes > watched.limit_bytes and not watched.over and task_id in self._watched:
                watched.over = True
                text = f"{format_mem(used_bytes)} of {format_mem(watched.limit_bytes)} in its sandbox"
                self._over(task_id, Breach(Reason.DISK_LIMIT, text))


def kept_for_s(kept_s: float, used: float) -> float:
    """How long the sandbox of an ended task is kept.  As Mesos (`--gc_delay`): the fuller the disk, the shorter.

    `used`: of the disk, 0 to 1.
    """
    return min(kept_s, max(_LEAST_KEPT_S, kept_s * (1.0 - _HEADROOM - used)))


def _goes_on(work: Iterator[None]) -> bool:
    return next(work, StopIteration) is not StopIteration


def removed(folder: Path) -> Iterator[None]:
    """Removes it, file by file.  Follows no links, also not those that come while it is at work.  Raises OSError."""
    top = _opened_for_removal(folder)
    try:
        while (yield from _emptied(top, top, _DEEPEST)):
            pass
    finally:
        os.close(top)
    folder.rmdir()


def _emptied(folder: int, top: int, levels: int) -> Generator[None, None, bool]:
    """What is deeper than so many levels is moved up into `top`, for another time; returns whether anything was."""
    moved = False
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        if not entry.is_dir(follow_symlinks=False):
            os.unlink(entry.name, dir_fd=folder)
            yield
            continue
        inner = _opened_for_removal(entry.name, folder)
        try:
            if levels:
                moved |= yield from _emptied(inner, top, levels - 1)
                os.rmdir(entry.name, dir_fd=folder)
            else:
                os.rename(entry.name, uuid.uuid4().hex, src_dir_fd=folder, dst_dir_fd=top)
                moved = True
        finally:
            os.close(inner)
        yield
    return moved


def _opened_for_removal(folder: Path | str, within: int | None = None) -> int:
    found = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=within)
    if os.geteuid() != 0:
        # A task may leave folders in which its own user may not remove anything; some build tools always do.
        os.fchmod(found, 0o700)
    return found


def _sizes(folder: Path) -> Iterator[float]:
    """Bytes on the disk of each file below; a file with several links is divided among them."""
    try:
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return  # It has been removed.
    yield from _sizes_in(top, os.fstat(top).st_dev, _DEEPEST)


def _sizes_in(folder: int, device: int, levels: int) -> Iterator[float]:
    """Closes `folder`.  The tree changes as it is walked: what is gone, or may not be read, counts nothing."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                    if found.st_dev != device:
                        continue
                    if not stat.S_ISDIR(found.st_mode):
                        yield found.st_blocks * _BLOCK_BYTES / max(1, found.st_nlink)
                        continue
                    yield float(found.st_blocks * _BLOCK_BYTES)
                    inner = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                except OSError:
                    continue
                if levels:
                    yield from _sizes_in(inner, device, levels - 1)
                else:
                    os.close(inner)
    except OSError:
        return
    finally:
        os.close(folder)
