"""What a container's cgroups tell: which column is in which files, and how to read it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from serenity.qos.sources import pressure
from serenity.qos.sources.cgroups import V2, Cgroup
from serenity.qos.sources.pressure import number

# Takes the text of each file; returns None where they do not tell the value.  Raises ValueError.
Parse = Callable[..., float | None]


@dataclass(frozen=True, slots=True)
class Meter:
    """One column of one container.

    `cumulative`: its files hold a counter, and the column is the counter's rate.  `may_rest`: the counter
    has a file of its own, which is read only now and then while the counter stands still.
    """

    column: str
    hierarchy: str  # A v1 controller, or `V2`.
    files: tuple[str, ...]  # One or two.
    parse: Parse
    cumulative: bool = True
    may_rest: bool = False


def field(name: bytes, unit: float) -> Parse:
    """One line of a flat-keyed file, times `unit`."""
    first, later = name + b" ", b"\n" + name + b" "

    def parse(text: bytes) -> float | None:
        if text.startswith(first):
            return number(text, len(first)) * unit
        at = text.find(later)
        return None if at < 0 else number(text, at + len(later)) * unit

    return parse


def working_set(inactive_file: bytes) -> Parse:
    """Memory that is charged to the cgroup, without the page cache that the kernel would drop first."""
    reclaimable = field(inactive_file, 1.0)
    return lambda stat, usage: max(0.0, int(usage) - (reclaimable(stat) or 0.0))


def available(active_file: bytes, slab: bytes = b"") -> Parse:
    """Memory charged to the cgroup that MemAvailable counts nevertheless: page cache in use, and kernel caches.

    For the kernel caches v2 has a line, `slab`.  On v1 a second file has all of the kernel's memory, a little
    too much; without this file the page cache alone is counted.
    """
    in_use, reclaimable = field(active_file, 1.0), field(slab, 1.0)

    def parse(stat: bytes, kernel: bytes = b"0") -> float | None:
        cache = in_use(stat)
        return None if cache is None else cache + (reclaimable(stat) or 0.0 if slab else int(kernel))

    return parse


_READ_AND_WRITTEN = re.compile(rb"\b[rw]bytes=(\d+)")


def blkio_bytes(text: bytes) -> float | None:
    """From ``blkio.throttle.io_service_bytes``, whose last line is the sum over all devices."""
    at = text.rfind(b"Total ")
    return None if at < 0 else number(text, at + 6)


def io_stat_bytes(text: bytes) -> float:
    """From v2's ``io.stat``, which has a line for each device, and none before the first I/O."""
    return float(sum(map(int, _READ_AND_WRITTEN.findall(text))))


# If a column has several meters, the first whose files exist counts.  Meters side by side share the reading of a file.
METERS = (
    Meter("cpu", "cpuacct", ("cpuacct.usage",), lambda text: int(text) / 1e9),
    Meter("cpu", V2, ("cpu.stat",), field(b"usage_usec", 1e-6)),
    Meter("throttled", "cpu", ("cpu.stat",), field(b"throttled_time", 1e-9), may_rest=True),
    Meter("throttled", V2, ("cpu.stat",), field(b"throttled_usec", 1e-6)),
    Meter("rss_bytes", "memory", ("memory.stat", "memory.usage_in_bytes"), working_set(b"total_inactive_file"), False),
    Meter("rss_bytes", V2, ("memory.stat", "memory.current"), working_set(b"inactive_file"), False),
    Meter(
        "cache_bytes", "memory", ("memory.stat", "memory.kmem.usage_in_bytes"), available(b"total_active_file"), False
    ),
    Meter("cache_bytes", "memory", ("memory.stat",), available(b"total_active_file"), False),
    Meter("cache_bytes", V2, ("memory.stat",), available(b"active_file", b"slab_reclaimable"), False),
    Meter("io_bytes", "blkio", ("blkio.throttle.io_service_bytes_recursive",), blkio_bytes),
    Meter("io_bytes", "blkio", ("blkio.throttle.io_service_bytes",), blkio_bytes),
    Meter("io_bytes", V2, ("io.stat",), io_stat_bytes),
    Meter("psi_cpu", V2, ("cpu.pressure",), pressure.stalled_s),
    Meter("psi_memory", V2, ("memory.pressure",), pressure.stalled_s),
    Meter("psi_io", V2, ("io.pressure",), pressure.stalled_s),
)


# How long best-effort tasks wait is used nowhere, and these are a third of all files that would be read for them.
_OF_PRODUCTION_ONLY = ("psi_cpu", "psi_memory", "psi_io")


def of_cgroup(cgroup: Cgroup, of_production: bool) -> list[tuple[Meter, tuple[str, ...]]]:
    """The meters that one container has, one for each column, and the paths of their files.

    If v1 and v2 are both mounted, each meter is read in the hierarchy that has its files.
    """
    found: dict[str, tuple[Meter, tuple[str, ...]]] = {}
    for meter in METERS:
        if meter.column in _OF_PRODUCTION_ONLY and not of_production:
            continue
        folder = cgroup.folders.get(meter.hierarchy)
        if folder is not None and meter.column not in found and all((folder / each).exists() for each in meter.files):
            found[meter.column] = (meter, tuple(str(folder / each) for each in meter.files))
    return list(found.values())
