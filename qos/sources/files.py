"""Files that stay open from one sample to the next: reading them again costs a fifth of opening them."""

from __future__ import annotations

import os
import resource
from collections.abc import Collection, Iterable

NODE = "node"  # The row of files that belong to no container, and stay.
# Files left for sockets, logs, children: for all that the budget does not count.
_RESERVE = 256
# The kernel hands out long files by the page: a piece that is a good deal shorter was the whole file.
_PIECE_BYTES = 4096
# Share of the limit for kept files: counters need open files, while these are only faster with them.
_SHARE = 0.5
_SURELY_WHOLE_BYTES = 3072


class FileBudget:
    """How many files the sources may keep open together, under this process's limit (``RLIMIT_NOFILE``)."""

    def __init__(self, reserve: int = _RESERVE) -> None:
        self._reserve = reserve
        self._taken = 0

    @property
    def limit(self) -> int:
        soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        return int(soft)

    def take(self, count: int, share: float = 1.0) -> bool:
        """Takes room for so many files, until given back; False if that would exceed `share` of the limit."""
        if not self._fits(count, share):
            return False
        self._taken += count
        return True

    def give_back(self, count: int) -> None:
        self._taken -= count

    def _fits(self, count: int, share: float) -> bool:
        limit = self.limit
        return limit == resource.RLIM_INFINITY or self._taken + count + self._reserve <= share * limit


class KeptFile:
    """Stays open while the budget is less than half used; else it is opened for each reading, which is only slower."""

    __slots__ = ("_budget", "_descriptor", "_path")

    def __init__(self, path: str, budget: FileBudget) -> None:
        self._path = path
        self._budget = budget
        self._descriptor: int | None = None

    def read(self) -> bytes:
        """Raises OSError: the file is not there, or the process or cgroup that it describes is gone."""
        if self._descriptor is not None:
            try:
                piece = os.pread(self._descriptor, _PIECE_BYTES, 0)
                return piece if len(piece) < _SURELY_WHOLE_BYTES else _whole(self._descriptor)
            except OSError:
                # What the file described is gone; a new file may have the same name by now, so open it once more.
                self.close()
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        if self._budget.take(1, _SHARE):
            self._descriptor = descriptor
            return _whole(descriptor)
        try:
            return _whole(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            self._budget.give_back(1)


class KeptFiles:
    """Small files of /proc and cgroups, by the row that they are read for; they are closed with their row."""

    def __init__(self, budget: FileBudget) -> None:
        self._budget = budget
        self._of: dict[str, dict[str, KeptFile]] = {}  # Row → path.

    def of(self, row_id: str, path: str) -> KeptFile:
        """The file, not opened before it is read.  Must not be read any more once the row is gone."""
        files = self._of.setdefault(row_id, {})
        found = files.get(path)
        if found is None:
            found = files[path] = KeptFile(path, self._budget)
        return found

    def read(self, row_id: str, path: str) -> bytes:
        """Raises OSError as `KeptFile.read`; nothing is kept then."""
        try:
            return self.of(row_id, path).read()
        except OSError:
            self.forget(row_id, (path,))
            raise

    def forget(self, row_id: str, paths: Iterable[str]) -> None:
        """Closes files of that row that are no longer read."""
        files = self._of.get(row_id, {})
        for path in files.keys() & set(paths):
            files.pop(path).close()

    def keep(self, row_ids: Collection[str]) -> None:
        for gone in self._of.keys() - {*row_ids, NODE}:
            self._forget_all(gone)

    def close(self) -> None:
        for row_id in list(self._of):
            self._forget_all(row_id)

    def _forget_all(self, row_id: str) -> None:
        for file in self._of.pop(row_id).values():
            file.close()


def _whole(descriptor: int) -> bytes:
    text = b""
    while piece := os.pread(descriptor, _PIECE_BYTES, len(text)):
        text += piece
    return text
