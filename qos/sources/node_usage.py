"""What the machine as a whole tells: pressure, memory, disks."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from pathlib import Path

from serenity.daemon.clock import Clock
from serenity.qos.sources import pressure
from serenity.qos.sources.draft import Draft, Faults
from serenity.qos.sources.files import NODE, KeptFiles
from serenity.qos.sources.rates import Rates

_MEMINFO = re.compile(rb"^(MemTotal|MemAvailable): +(\d+) kB$", re.MULTILINE)
# Devices made of others, whose I/O is counted there already, or of memory.
_NO_DISK = re.compile(r"loop|ram|zram|dm-|md|sr|fd")


class NodeUsage:
    """Fills the readings of the node.

    ``psi_cpu``, ``psi_memory``, ``psi_io``: shares of time.  ``mem_total_bytes``, ``mem_used_bytes``.
    ``disk_latency_ms``: how long an I/O took on the average of those completed since the last
    sample, on the disk where that was longest.  ``disk_busy``: the share of time in which the
    busiest disk had work.
    """

    def __init__(self, clock: Clock, faults: Faults, files: KeptFiles, proc: Path = Path("/proc")) -> None:
        self._clock = clock
        self._faults = faults
        self._files = files
        self._proc = proc
        self._rates = Rates()
        self._disks: dict[str, tuple[int, int]] = {}

    def read(self, draft: Draft) -> None:
        self._read_pressure(draft)
        self._read_memory(draft)
        self._read_disks(draft)

    def keep(self, row_ids: Collection[str]) -> None:
        """The node stays."""

    def close(self) -> None:
        """It has changed nothing."""

    def _read_pressure(self, draft: Draft) -> None:
        for resource in pressure.RESOURCES:
            try:
                stalled_s = pressure.stalled_s(self._text(f"pressure/{resource}"))
            except (OSError, ValueError) as error:
                self._faults.lacks(f"this machine tells no {resource} pressure: {error}")
                continue
            share = self._rates.rate(NODE, resource, self._clock.monotonic_s(), stalled_s)
            if share is not None:
                draft.readings[f"psi_{resource}"] = min(1.0, share)

    def _read_memory(self, draft: Draft) -> None:
        known = {name: int(value) * 1024 for name, value in _MEMINFO.findall(self._text("meminfo"))}
        if b"MemAvailable" in known:
            draft.readings["mem_total_bytes"] = known[b"MemTotal"]
            draft.readings["mem_used_bytes"] = known[b"MemTotal"] - known[b"MemAvailable"]

    def _read_disks(self, draft: Draft) -> None:
        try:
            text = self._text("diskstats")
        except OSError as error:
            self._faults.lacks(f"this machine tells nothing of its disks: {error}")
            return
        latencies_ms, busy = [], []
        for name, done, took_ms, busy_ms in disks(text):
            before_done, before_ms = self._disks.get(name, (done, took_ms))
            self._disks[name] = (done, took_ms)
            if done > before_done and took_ms >= before_ms:
                latencies_ms.append((took_ms - before_ms) / (done - before_done))
            share = self._rates.rate(NODE, f"busy {name}", self._clock.monotonic_s(), busy_ms / 1e3)
            if share is not None:
                busy.append(min(1.0, share))
        if latencies_ms:
            draft.readings["disk_latency_ms"] = max(latencies_ms)
        if busy:
            draft.readings["disk_busy"] = max(busy)

    def _text(self, name: str) -> bytes:
        return self._files.read(NODE, f"{self._proc}/{name}")


def disks(diskstats: bytes) -> list[tuple[str, int, int, int]]:
    """Of each whole disk: its name, I/Os completed, the ms that they took together, the ms in which it had any.

    Source: Linux ``Documentation/admin-guide/iostats.rst``.  Partitions are left out: they
    follow their disk, and are called after it.
    """
    found: list[tuple[str, int, int, int]] = []
    for line in diskstats.decode("ascii", "replace").splitlines():
        _major, _minor, name, *numbers = line.split()
        partition = found and re.fullmatch(rf"{re.escape(found[-1][0])}p?\d+", name)
        if partition or _NO_DISK.match(name) or len(numbers) < 10:
            continue
        reads, _, _, read_ms, writes, _, _, write_ms, _, busy_ms = map(int, numbers[:10])
        found.append((name, reads + writes, read_ms + write_ms, busy_ms))
    return found


def llc_bytes(cpus: Path = Path("/sys/devices/system/cpu")) -> float:
    """The last-level caches of this machine together, each counted once; NaN where it does not tell."""
    sizes: dict[str, float] = {}
    for cpu in cpus.glob("cpu[0-9]*"):
        levels = sorted(cpu.glob("cache/index[0-9]*"), key=lambda index: (index / "level").read_text())
        if levels:
            size = (levels[-1] / "size").read_text().strip()
            sizes[(levels[-1] / "shared_cpu_list").read_text()] = float(size.removesuffix("K")) * 1024
    return sum(sizes.values()) if sizes else math.nan
