"""Readings of the machine as a whole: pressure, memory, disks, network."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection
from pathlib import Path

from serenity.daemon.clock import Clock
from serenity.qos.sources import pressure
from serenity.qos.sources.draft import Draft, Faults
from serenity.qos.sources.files import NODE, KeptFiles
from serenity.qos.sources.rates import Rates

_MEMINFO = re.compile(rb"^(MemTotal|MemAvailable): +(\d+) kB$", re.MULTILINE)
# Not disks: devices made of other disks, where their I/O is counted already, or of memory; and optical and floppy.
_NO_DISK = re.compile(r"loop|ram|zram|dm-|md|sr|fd")


class NodeUsage:
    """Fills the readings of the node.

    ``psi_cpu``, ``psi_memory``, ``psi_io``: shares of time.  ``mem_total_bytes``, ``mem_used_bytes``.
    ``disk_latency_ms``: the mean time of the I/Os completed since the last sample, on the disk
    where it was longest.  ``disk_busy``: the share of time in which the busiest disk had work.
    ``net_bytes``, ``net_dropped``: bytes received and sent, and packets dropped or broken, a
    second, over the interfaces that are devices.
    """

    def __init__(
        self,
        clock: Clock,
        faults: Faults,
        files: KeptFiles,
        proc: Path = Path("/proc"),
        net: Path = Path("/sys/class/net"),
    ) -> None:
        self._clock = clock
        self._faults = faults
        self._files = files
        self._proc = proc
        self._net = net
        self._rates = Rates()
        self._disks: dict[str, tuple[int, int]] = {}

    def read(self, draft: Draft) -> None:
        self._read_pressure(draft)
        self._read_memory(draft)
        self._read_disks(draft)
        self._read_network(draft)

    def keep(self, row_ids: Collection[str]) -> None:
        """Nothing to forget: the node stays."""

    def close(self) -> None:
        """Nothing to undo."""

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

    def _read_network(self, draft: Draft) -> None:
        try:
            found = interfaces(self._text("net/dev"))
        except OSError as error:
            self._faults.lacks(f"this machine tells nothing of its network: {error}")
            return
        rates = []
        for name, counters in found.items():
            if os.path.exists(f"{self._net}/{name}/device"):  # Others are made of these, or stay inside the host.
                now_s = self._clock.monotonic_s()
                rates.append([self._rates.rate(NODE, f"{name} {i}", now_s, each) for i, each in enumerate(counters)])
        for reading, of_each in zip(("net_bytes", "net_dropped"), zip(*rates, strict=True), strict=False):
            known = [each for each in of_each if each is not None]
            if known:
                draft.readings[reading] = sum(known)

    def _text(self, name: str) -> bytes:
        return self._files.read(NODE, f"{self._proc}/{name}")


def disks(diskstats: bytes) -> list[tuple[str, int, int, int]]:
    """For each whole disk: its name, I/Os completed, the ms that these took together, the ms in which it had work.

    Source: Linux ``Documentation/admin-guide/iostats.rst``.  Partitions, which follow their disk and
    are named after it, are left out.
    """
    found: list[tuple[str, int, int, int]] = []
    for line in diskstats.decode("ascii", "replace").splitlines():
        _major, _minor, name, *numbers = line.split()
        if len(numbers) < 10 or _NO_DISK.match(name):
            continue
        if found and _is_partition(name, found[-1][0]):
            continue
        reads, _, _, read_ms, writes, _, _, write_ms, _, busy_ms = map(int, numbers[:10])
        found.append((name, reads + writes, read_ms + write_ms, busy_ms))
    return found


def _is_partition(name: str, disk: str) -> bool:
    """sda1 is one of sda.  If the disk's name ends with a digit, a p stands between: nvme0n1p1, and not nvme0n10."""
    joint = "p" if disk[-1].isdecimal() else ""
    return name.startswith(disk + joint) and name.removeprefix(disk + joint).isdecimal()


def interfaces(net_dev: bytes) -> dict[str, tuple[float, float]]:
    """For each network interface in proc(5) ``/proc/net/dev``: bytes in and out, packets dropped or broken."""
    found = {}
    for line in net_dev.decode("ascii", "replace").splitlines()[2:]:
        name, _, numbers = line.partition(":")
        received, sent = (list(map(float, numbers.split()[at : at + 4])) for at in (0, 8))
        found[name.strip()] = (received[0] + sent[0], sum(received[2:]) + sum(sent[2:]))
    return found


def llc_bytes(cpus: Path = Path("/sys/devices/system/cpu")) -> float:
    """The size of all last-level caches of this machine, each counted once; NaN where the machine does not tell."""
    sizes: dict[str, float] = {}
    try:
        for cpu in cpus.glob("cpu[0-9]*"):
            levels = sorted(cpu.glob("cache/index[0-9]*"), key=lambda index: int((index / "level").read_text()))
            if levels:
                size = (levels[-1] / "size").read_text().strip()
                sizes[(levels[-1] / "shared_cpu_list").read_text()] = float(size.removesuffix("K")) * 1024
    except (OSError, ValueError):  # Firmware may tell only a part, which would pass for the whole.
        return math.nan
    return sum(sizes.values()) if sizes else math.nan
