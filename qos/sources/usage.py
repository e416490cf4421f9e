"""CPU, throttling, memory, disk and pressure of each container, from its cgroups or its processes."""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from serenity.daemon.clock import Clock
from serenity.qos.frame import COLUMNS, PRODUCTION
from serenity.qos.sources import meters
from serenity.qos.sources.cgroups import Cgroup
from serenity.qos.sources.draft import Draft, Faults, Row
from serenity.qos.sources.files import KeptFile, KeptFiles
from serenity.qos.sources.held_memory import HeldMemory
from serenity.qos.sources.meters import Parse
from serenity.qos.sources.places import Place, Places
from serenity.qos.sources.rates import Members, Rate, Rates
from serenity.qos.sources.residents import Residents
from serenity.qos.sources.turns import Turns


@dataclass(slots=True)
class _Meter:
    """One of one container, with its files, and what it has counted so far."""

    column: str
    file: KeptFile
    other: KeptFile | None
    parse: Parse
    rate: Rate | None
    most: float
    may_rest: bool
    rests: bool = False


@dataclass(frozen=True, slots=True)
class _Meters:
    """Of one container, one a column."""

    cgroup: Cgroup  # That they are of: a later look may find more.
    each: tuple[_Meter, ...]
    columns: frozenset[str]


class Usage:
    """Fills ``cpu``, ``throttled``, ``rss_bytes``, ``cache_bytes``, ``io_bytes``, and on v2 ``psi_cpu``,
    ``psi_memory``, ``psi_io``.

    What a container's own cgroups do not tell of ``cpu``, ``rss_bytes`` and ``io_bytes`` is
    summed over its processes.
    """

    def __init__(
        self,
        clock: Clock,
        places: Places,
        faults: Faults,
        files: KeptFiles,
        residents: Residents,
        proc: Path = Path("/proc"),
    ) -> None:
        self._clock = clock
        self._places = places
        self._faults = faults
        self._files = files
        self._residents = residents
        self._proc = proc
        # More is no measurement: a counter has jumped.  Of cores and memory twice what there is: clocks are coarse, and
        # machines grow while they run.
        self._most = {
            "cpu": 2.0 * (os.cpu_count() or 1024),
            "rss_bytes": 2.0 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            "io_bytes": _MOST_IO_BYTES,
        }
        self._rates = Rates()
        self._held_memory = HeldMemory(clock, faults, proc)
        self._meters: dict[str, _Meters] = {}
        self._samples = 0
        self._io_members: dict[str, Members] = {}

    def read(self, draft: Draft) -> None:
        self._samples += 1
        for i, row in enumerate(draft.rows):
            if row.pid is None and row.cgroup is None:
                continue
            draft.turns.give()
            try:
                place = self._places.of(row, draft)
            except (OSError, ValueError) as error:
                self._faults.count("cpu", row.id, error)
                continue
            told = self._by_cgroups(i, row.id, place, draft)
            if not told >= _OF_PROCESSES:
                self._by_processes(i, row, place, draft, told)

    def keep(self, row_ids: Collection[str]) -> None:
        self._rates.keep(row_ids)
        self._held_memory.keep(row_ids)
        for gone in self._meters.keys() - set(row_ids):
            del self._meters[gone]
        for gone in self._io_members.keys() - set(row_ids):
            del self._io_members[gone]

    def close(self) -> None:
        """It has changed nothing."""

    def _by_cgroups(self, i: int, row_id: str, place: Place, draft: Draft) -> frozenset[str]:
        """The columns that its cgroups have, whether or not they could be read this time."""
        found = self._meters.get(row_id)
        if found is None or found.cgroup is not place.cgroup:
            of_production = draft.rows[i].container.role == PRODUCTION
            found = self._meters[row_id] = self._found(row_id, place.cgroup, of_production)
        now_s = self._clock.monotonic_s()
        wakes = (self._samples + i) % _RESTS_SAMPLES == 0  # Not all in the same sample.
        file, text = None, b""
        for meter in found.each:
            if meter.rests and not wakes:
                continue
            try:
                if meter.file is not file:  # Two columns may be in one.
                    file = None
                    text = meter.file.read()
                    file = meter.file
                value = meter.parse(text, meter.other.read()) if meter.other is not None else meter.parse(text)
            except (OSError, ValueError) as error:
                self._faults.count(meter.column, row_id, error)
                continue
            if meter.rate is not None and value is not None:
                value = meter.rate.take(now_s, value)
            meter.rests = meter.may_rest and value == 0.0
            if value is not None and value > meter.most:
                self._refuse(meter.column, row_id, value)
            else:
                draft.fill(meter.column, i, value)
        return found.columns

    def _found(self, row_id: str, cgroup: Cgroup, of_production: bool) -> _Meters:
        found = []
        for meter, paths in meters.of_cgroup(cgroup, of_production):
            file, *others = (self._files.of(row_id, path) for path in paths)
            other = others[0] if others else None
            # Of the hierarchy as well: another one, found by a later look, counts from elsewhere.
            rate = self._rates.of(row_id, f"{meter.column} {meter.hierarchy}") if meter.cumulative else None
            most = self._most.get(meter.column, math.inf)
            found.append(_Meter(meter.column, file, other, meter.parse, rate, most, meter.may_rest))
        return _Meters(cgroup, tuple(found), frozenset(meter.column for meter in found))

    def _fill(self, draft: Draft, column: str, i: int, value: float | None) -> None:
        if value is not None and value > self._most[column]:
            self._refuse(column, draft.rows[i].id, value)
        else:
            draft.fill(column, i, value)

    def _refuse(self, column: str, row_id: str, value: float) -> None:
        too_much = ValueError(f"{value:.4g} {COLUMNS[column].unit} are more than this machine has or does")
        self._faults.count(column, row_id, too_much)

    def _by_processes(self, i: int, row: Row, place: Place, draft: Draft, told: frozenset[str]) -> None:
        if "io_bytes" not in told:
            self._fill(draft, "io_bytes", i, self._io(row, self._residents.pids(row, draft), draft.turns))
        if told >= {"cpu", "rss_bytes"}:
            return
        members = place.members(draft.processes)
        # No process is no use only if there was one: a pid that never was tells nothing.
        if place.tree is None or not members:
            return
        if "cpu" not in told:
            self._fill(draft, "cpu", i, self._rate(row.id, "tree", place.tree.cpu_s(members)))
        if "rss_bytes" not in told:
            if row.container.role == PRODUCTION:
                # Too much rather than too little: mapped files too, shared pages once a process.
                rss_bytes = float(sum(each.rss_bytes for each in members))
            else:
                rss_bytes = self._held_memory.of(row.id, members, draft.turns)
            self._fill(draft, "rss_bytes", i, rss_bytes)

    def _io(self, row: Row, pids: Collection[int], turns: Turns) -> float | None:
        """What its processes have read from and written to devices (proc(5) ``/proc/PID/io``), per second."""
        done_bytes = {}
        for pid in pids:
            turns.give()
            try:
                text = self._files.read(row.id, self._io_path(pid))
            except PermissionError:
                self._faults.lacks("what processes of other users read and write can be seen by root only")
                return None
            except (FileNotFoundError, ProcessLookupError):
                continue  # It ended meanwhile.
            done_bytes[pid] = (_READ(text) or 0.0) + (_WRITTEN(text) or 0.0)
        if not done_bytes:
            return None
        members = self._io_members.setdefault(row.id, Members())
        if gone := members.gone(done_bytes):
            self._files.forget(row.id, map(self._io_path, gone))
        return self._rate(row.id, "io", members.take(done_bytes))

    def _io_path(self, pid: int) -> str:
        return f"{self._proc}/{pid}/io"

    def _rate(self, row_id: str, counter: str, value: float) -> float | None:
        return self._rates.rate(row_id, counter, self._clock.monotonic_s(), value)


_RESTS_SAMPLES = 10
# A second.  All PCIe lanes of a large machine (160 of generation 5, 4 GB/s each) move 0.64e12.
_MOST_IO_BYTES = 1e12
_OF_PROCESSES = {"cpu", "rss_bytes", "io_bytes"}
_READ, _WRITTEN = meters.field(b"read_bytes:", 1.0), meters.field(b"write_bytes:", 1.0)
