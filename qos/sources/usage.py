"""CPU, throttling, memory and pressure of each container, from its cgroups or its processes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from serenity.daemon.clock import Clock
from serenity.qos.sources import pressure
from serenity.qos.sources.cgroups import V2, field_of
from serenity.qos.sources.draft import Draft, Faults, Row
from serenity.qos.sources.places import Place, Places
from serenity.qos.sources.rates import Rates

_Reading = Callable[[Row, Place, Draft], float | None]


class Usage:
    """Fills ``cpu``, ``throttled``, ``rss_bytes``, and on cgroup v2 ``psi_cpu``, ``psi_memory``, ``psi_io``."""

    def __init__(self, clock: Clock, places: Places, faults: Faults) -> None:
        self._clock = clock
        self._places = places
        self._faults = faults
        self._rates = Rates()
        self._readings: tuple[tuple[str, _Reading], ...] = (
            ("cpu", self._cpu),
            ("throttled", self._throttled),
            ("rss_bytes", self._memory),
            *((f"psi_{resource}", self._pressure(resource)) for resource in pressure.RESOURCES),
        )

    def read(self, draft: Draft) -> None:
        for i, row in enumerate(draft.rows):
            if row.pid is None and row.cgroup is None:
                continue
            try:
                place = self._places.of(row)
            except OSError as error:
                self._faults.count("cpu", row.id, error)
                continue
            for column, reading in self._readings:
                try:
                    draft.fill(column, i, reading(row, place, draft))
                except (OSError, ValueError) as error:
                    self._faults.count(column, row.id, error)

    def keep(self, row_ids: Collection[str]) -> None:
        self._rates.keep(row_ids)

    def _cpu(self, row: Row, place: Place, draft: Draft) -> float | None:
        if (folder := place.cgroup.folder("cpuacct")) is not None:
            return self._rate(row, "cpuacct", int(_text(folder, "cpuacct.usage")) / 1e9)
        if (folder := place.cgroup.folder(V2)) is not None:
            used_us = field_of(_text(folder, "cpu.stat"), "usage_usec")
            if used_us is not None:
                return self._rate(row, "cpu.stat", used_us / 1e6)
        members = place.members(draft.processes)
        # No process is no CPU use only if there was one: a pid that never was tells nothing.
        return self._rate(row, "tree", place.tree.cpu_s(members)) if place.tree is not None and members else None

    def _throttled(self, row: Row, place: Place, draft: Draft) -> float | None:
        if (folder := place.cgroup.folder("cpu")) is not None:
            throttled_ns = field_of(_text(folder, "cpu.stat"), "throttled_time")
            return None if throttled_ns is None else self._rate(row, "throttled_time", throttled_ns / 1e9)
        if (folder := place.cgroup.folder(V2)) is not None:
            throttled_us = field_of(_text(folder, "cpu.stat"), "throttled_usec")
            return None if throttled_us is None else self._rate(row, "throttled_usec", throttled_us / 1e6)
        return None

    def _memory(self, row: Row, place: Place, draft: Draft) -> float | None:
        """The working set: what is charged, without the page cache that the kernel would drop first.

        Of a process tree it is the sum of resident sets, in which shared pages count once a
        process: too much rather than too little.
        """
        for controller, usage, inactive in (
            ("memory", "memory.usage_in_bytes", "total_inactive_file"),
            (V2, "memory.current", "inactive_file"),
        ):
            folder = place.cgroup.folder(controller)
            # v2: where the memory controller is not enabled for this group, the files are missing.
            if folder is not None and (controller != V2 or (folder / usage).exists()):
                reclaimable = field_of(_text(folder, "memory.stat"), inactive) or 0
                return max(0, int(_text(folder, usage)) - reclaimable)
        members = place.members(draft.processes)
        return sum(each.rss_bytes for each in members) if members else None

    def _pressure(self, resource: str) -> _Reading:
        def read(row: Row, place: Place, draft: Draft) -> float | None:
            folder = place.cgroup.folder(V2)
            file = folder / f"{resource}.pressure" if folder is not None else None
            if file is None or not file.exists():
                return None
            return self._rate(row, file.name, pressure.stalled_s(file))

        return read

    def _rate(self, row: Row, counter: str, value: float) -> float | None:
        return self._rates.rate(row.id, counter, self._clock.monotonic_s(), value)


class NodeUsage:
    """Fills the readings ``psi_cpu``, ``psi_memory``, ``psi_io`` (shares) and ``mem_used_bytes``."""

    def __init__(self, clock: Clock, faults: Faults, proc: Path = Path("/proc")) -> None:
        self._clock = clock
        self._faults = faults
        self._proc = proc
        self._rates = Rates()

    def read(self, draft: Draft) -> None:
        for resource in pressure.RESOURCES:
            try:
                stalled_s = pressure.stalled_s(self._proc / "pressure" / resource)
            except (OSError, ValueError) as error:
                self._faults.lacks(f"this machine tells no {resource} pressure: {error}")
                continue
            share = self._rates.rate("node", resource, self._clock.monotonic_s(), stalled_s)
            if share is not None:
                draft.readings[f"psi_{resource}"] = min(1.0, share)
        meminfo = {
            name: int(value.split()[0]) * 1024
            for name, _, value in (line.partition(":") for line in (self._proc / "meminfo").read_text().splitlines())
        }
        if "MemAvailable" in meminfo:
            draft.readings["mem_total_bytes"] = meminfo["MemTotal"]
            draft.readings["mem_used_bytes"] = meminfo["MemTotal"] - meminfo["MemAvailable"]


def _text(folder: Path, name: str) -> str:
    return (folder / name).read_text()
