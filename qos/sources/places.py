"""Where each container's counters are to be read: its own cgroups, and its process tree."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from serenity.qos.sources import cgroups
from serenity.qos.sources.cgroups import Cgroup, Mounts
from serenity.qos.sources.draft import Row
from serenity.qos.sources.processes import Process, ProcessTable, ProcessTree

# A container is put into its cgroups before its pid is told; a few looks more cost nothing.
# One that is in none by then has none, as with the posix launcher.
_LOOKS = 5


@dataclass(slots=True)
class Place:
    """`cgroup` is empty, and `tree` None, as long as nothing is known of where the container is."""

    cgroup: Cgroup = field(default_factory=Cgroup)
    tree: ProcessTree | None = None
    looks_left: int = _LOOKS
    _looked: tuple[ProcessTable, list[Process]] | None = None

    def members(self, table: ProcessTable) -> list[Process]:
        if self.tree is None:
            return []
        if self._looked is None or self._looked[0] is not table:
            self._looked = (table, self.tree.members(table))
        return self._looked[1]

    @property
    def settled(self) -> bool:
        """Whether its cgroups will not be looked for again."""
        return bool(self.cgroup) or self.looks_left == 0


class Places:
    """Finds the place of each row, once, and forgets it with the row."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self.mounts = Mounts.read(proc)
        self._places: dict[str, Place] = {}

    def of(self, row: Row) -> Place:
        """Raises OSError when the container's process is gone."""
        row_id = row.container.id
        place = self._places.get(row_id)
        if place is None:
            place = self._places[row_id] = Place()
        if not place.cgroup and place.looks_left:
            if row.cgroup is not None:
                place.looks_left -= 1
                place.cgroup = cgroups.declared(self.mounts, row.cgroup, row.pid, self._proc)
            elif row.pid is not None:
                place.cgroup = cgroups.of_process(
                    self.mounts, row.pid, row.container.container, self._proc, whole=row.docker
                )
                place.looks_left -= 1
        if place.tree is None and row.pid is not None:
            place.tree = ProcessTree(row.pid)
        return place

    def keep(self, row_ids: Collection[str]) -> None:
        for gone in self._places.keys() - set(row_ids):
            del self._places[gone]
