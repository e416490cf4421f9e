"""The processes and threads that each container has now."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from serenity.daemon.clock import Clock
from serenity.qos.sources.cgroups import V2
from serenity.qos.sources.draft import Draft, Row
from serenity.qos.sources.files import KeptFiles
from serenity.qos.sources.places import Places
from serenity.qos.sources.turns import Turns

# A task group's containers are cgroups below the executor's; new ones are looked for this often.
_LOOK_EVERY_S = 5.0
# The file of threads has different names in v2 and v1.
_PROCESSES, _THREADS_V2, _THREADS_V1 = "cgroup.procs", "cgroup.threads", "tasks"


@dataclass(slots=True)
class _Folders:
    """A container's cgroup in one hierarchy, and those below it."""

    paths: list[str]
    look_at_s: float


class Residents:
    """Read from the container's cgroup, which misses no process; if it has none, from its process tree."""

    def __init__(self, clock: Clock, places: Places, files: KeptFiles, proc: Path = Path("/proc")) -> None:
        self._clock = clock
        self._places = places
        self._files = files
        self._proc = proc
        self._folders: dict[str, _Folders] = {}

    def pids(self, row: Row, draft: Draft) -> list[int]:
        """When the container is gone: empty, or OSError if it was never found (`Places.of`)."""
        place = self._places.of(row, draft)
        if not place.cgroup:
            return [each.pid for each in place.members(draft.processes)]
        _controller, folder = place.cgroup.any_folder
        return self._ids(row.id, folder, _PROCESSES)

    def threads(self, row: Row, draft: Draft) -> list[int]:
        """The threads' ids: each has a folder in /proc, as a process has.  Raises OSError as `pids` does."""
        place = self._places.of(row, draft)
        if not place.cgroup:
            return [thread for pid in self.pids(row, draft) for thread in self._threads_of(pid, draft.turns)]
        controller, folder = place.cgroup.any_folder
        return self._ids(row.id, folder, _THREADS_V2 if controller == V2 else _THREADS_V1)

    def keep(self, row_ids: Collection[str]) -> None:
        for gone in self._folders.keys() - set(row_ids):
            del self._folders[gone]

    def _ids(self, row_id: str, folder: Path, name: str) -> list[int]:
        folders = self._folders.get(row_id)
        now_s = self._clock.monotonic_s()
        if folders is None or now_s >= folders.look_at_s:
            before = folders.paths if folders is not None else []
            folders = self._folders[row_id] = _Folders(_with_those_below(folder), now_s + _LOOK_EVERY_S)
            self._forget(row_id, set(before).difference(folders.paths))
        found: list[int] = []
        for path in list(folders.paths):
            try:
                found += map(int, self._files.read(row_id, f"{path}/{name}").split())
            except OSError:
                folders.paths.remove(path)  # The cgroup is gone, and so had no process.
                self._forget(row_id, (path,))
        return found

    def _forget(self, row_id: str, paths: Collection[str]) -> None:
        """Closes the files of folders that are gone."""
        names = (_PROCESSES, _THREADS_V2, _THREADS_V1)
        self._files.forget(row_id, (f"{path}/{name}" for path in paths for name in names))

    def _threads_of(self, pid: int, turns: Turns) -> Iterator[int]:
        turns.give()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # The process has ended meanwhile.
            yield from map(int, os.listdir(f"{self._proc}/{pid}/task"))


def _with_those_below(folder: Path) -> list[str]:
    """Paths of the folder and of all folders below it; empty when it is gone."""
    with contextlib.suppress(FileNotFoundError):
        # Two links: it has no folder below, for each would be one more.  (File systems that do not count so show one.)
        if os.stat(folder).st_nlink == 2:
            return [str(folder)]
    return [path for path, _folders, _files in os.walk(folder)]
