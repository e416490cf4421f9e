"""Where each container is measured: its own cgroups, and its process tree."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from serenity.qos.sources import cgroups
from serenity.qos.sources.cgroups import Cgroup, Mounts
from serenity.qos.sources.draft import Draft, Row
from serenity.qos.sources.processes import Process, ProcessTable, ProcessTree

# The agent tells a container's process as soon as it is forked, and puts it into one hierarchy after the other: the
# first look may find only some of its cgroups.  After so many samples it has all it will get (posix launcher: none).
_LOOKS = 5


@dataclass(slots=True)
class Place:
    """`cgroup` is empty, and `tree` None, as long as nothing is known of where the container is."""

    cgroup: Cgroup = field(default_factory=Cgroup)
    tree: ProcessTree | None = None
    looks_left: int = _LOOKS  # One look a sample.
    looked_in: Draft | None = None
    _looked: tuple[ProcessTable, list[Process]] | None = None

    def members(self, table: ProcessTable) -> list[Process]:
        if self.tree is None:
            return []
        if self._looked is None or self._looked[0] is not table:
            self._looked = (table, self.tree.members(table))
        return self._looked[1]

    @property
    def settled(self) -> bool:
        """Whether the search for its cgroups is over."""
        return self.looks_left == 0


class Places:
    """Finds the place of each row in the row's first samples, and forgets it with the row."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self.mounts = Mounts.read(proc)
        self._places: dict[str, Place] = {}

    def of(self, row: Row, draft: Draft) -> Place:
        """Raises OSError when the container's process is gone, and none of its cgroups was found before."""
        row_id = row.container.id
        place = self._places.get(row_id)
        if place is None:
            place = self._places[row_id] = Place()
        if place.looks_left and place.looked_in is not draft and (row.pid is not None or row.cgroup is not None):
            found = {**place.cgroup.folders, **self._look(row, place.cgroup).folders}
            if found != place.cgroup.folders:
                place.cgroup = Cgroup(found)
            place.looks_left = 0 if found.keys() >= self.mounts.points.keys() else place.looks_left - 1
            place.looked_in = draft if place.looks_left else None
        if place.tree is None and row.pid is not None:
            place.tree = ProcessTree(row.pid)
        return place

    def _look(self, row: Row, before: Cgroup) -> Cgroup:
        if row.cgroup is not None:
            return cgroups.declared(self.mounts, row.cgroup, row.pid, self._proc)
        assert row.pid is not None
        try:
            return cgroups.of_process(self.mounts, row.pid, row.container.container, self._proc, whole=row.docker)
        except OSError:
            if not before:
                raise
            return before  # Its first process is gone; others may live.

    def keep(self, row_ids: Collection[str]) -> None:
        for gone in self._places.keys() - set(row_ids):
            del self._places[gone]
