"""Cgroups of containers, v1: CPU shares, a memory limit, accounting, and a freezer.

As Mesos makes them with ``--launcher=linux --isolation=cgroups/cpu,cgroups/mem``: in every hierarchy
``<cgroups_root>/<container id>``.  Shares are 1024 a cpu, and 10 a revocable one; the memory limit
is the allocation, at least 32 MiB, and is only ever raised.  (``src/slave/containerizer/mesos/isolators/cgroups``.)
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from serenity.wire.mesos.resources import Json, Resources

logger = logging.getLogger(__name__)

CONTROLLERS = ("cpu", "cpuacct", "memory", "freezer")
_SHARES_PER_CPU = 1024
_SHARES_PER_REVOCABLE_CPU = 10
_MIN_SHARES = 2
_MIN_MEMORY_BYTES = 32 << 20
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class CgroupsError(Exception):
    """Cgroups cannot be used here; the text is for a user."""


class Cgroups:
    def __init__(self, root: str, low_priority: bool = True, mounts: Path = Path("/proc/self/mounts")) -> None:
        """Makes the root in every hierarchy.

        Args:
            root: a relative path that nobody else uses.
            low_priority: revocable cpus count less (``--revocable_cpu_low_priority``).

        Raises:
            CgroupsError
        """
        if os.geteuid() != 0:
            raise CgroupsError("cgroups isolation needs root")
        found = _hierarchies(mounts.read_text(encoding="utf-8"))
        missing = [each for each in CONTROLLERS if each not in found]
        if missing:
            raise CgroupsError(f"cgroups isolation needs cgroups v1; not mounted: {', '.join(missing)}")
        self._low_priority = low_priority
        self._roots = {controller: found[controller] / root for controller in CONTROLLERS}
        try:
            for folder in self._folders():
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CgroupsError(f"cannot make the cgroup {error.filename}: {error.strerror}") from error

    def _folders(self, container_id: str = "") -> list[Path]:
        """One folder a hierarchy: cpu and cpuacct may share a hierarchy."""
        return list(dict.fromkeys(root / container_id for root in self._roots.values()))

    def containers(self) -> set[str]:
        return {each.name for each in self._roots["freezer"].iterdir() if each.is_dir()}

    # -- life --------------------------------------------------------------------------

    def create(self, container_id: str, allocated: Resources) -> None:
        """Raises OSError."""
        for folder in self._folders(container_id):
            folder.mkdir(exist_ok=True)
        self.update(container_id, allocated, first=True)

    def enter(self, container_id: str, pid: int) -> None:
        """Raises OSError."""
        for folder in self._folders(container_id):
            (folder / "cgroup.procs").write_text(str(pid), encoding="utf-8")

    def update(self, container_id: str, allocated: Resources, first: bool = False) -> None:
        """Raises OSError; ValueError for no cpus or no memory at all: no process could go on without either."""
        for name in ("cpus", "mem"):
            if not allocated.named(name):
                raise ValueError(f"No {name} resource given")
        revocable = self._low_priority and bool(allocated.revocable.named("cpus"))
        per_cpu = _SHARES_PER_REVOCABLE_CPU if revocable else _SHARES_PER_CPU
        shares = max(_MIN_SHARES, int(allocated.cpus * per_cpu))
        self._write(container_id, "cpu", "cpu.shares", shares)
        limit_bytes = max(_MIN_MEMORY_BYTES, allocated.mem_bytes)
        self._write(container_id, "memory", "memory.soft_limit_in_bytes", limit_bytes)
        if first or limit_bytes > self._number(container_id, "memory", "memory.limit_in_bytes"):
            self._write(container_id, "memory", "memory.limit_in_bytes", limit_bytes)

    def members(self, container_id: str) -> set[int]:
        """Pids in the container's cgroups and in those below."""
        found: set[int] = set()
        for folder in self._all_below(container_id):
            try:
                found |= {int(pid) for pid in (folder / "cgroup.procs").read_text(encoding="utf-8").split()}
            except OSError:
                continue  # Somebody has removed it since.
        return found

    def thaw(self, container_id: str) -> None:
        """Thaws the container's cgroup and those below."""
        for folder in self._all_below(container_id):
            if (state := folder / "freezer.state").exists():
                with contextlib.suppress(OSError):  # Somebody has removed it since.
                    state.write_text("THAWED", encoding="utf-8")

    def remove(self, container_id: str) -> None:
        """Removes the container's cgroups, with those below, after its last process has ended."""
        for folder in self._all_below(container_id):
            try:
                folder.rmdir()
            except OSError as error:
                logger.warning("cannot remove the cgroup %s: %s", folder, error.strerror)

    def remove_root(self) -> None:
        """Removes the root cgroups, at the very end."""
        for folder in self._all_below(""):
            try:
                folder.rmdir()
            except OSError as error:
                logger.warning("cannot remove the cgroup %s: %s", folder, error.strerror)

    def _all_below(self, container_id: str) -> Iterator[Path]:
        """The container's cgroups and those below, in every hierarchy, the deepest first."""
        for top in self._folders(container_id):
            for folder, _, _ in os.walk(top, topdown=False):
                yield Path(folder)

    # -- measured ----------------------------------------------------------------------

    def statistics(self, container_id: str, allocated: Resources, now_s: float) -> Json:
        """ResourceStatistics, with the fields of Mesos' cgroups isolators."""
        cpu = self._table(container_id, "cpuacct", "cpuacct.stat")
        memory = self._table(container_id, "memory", "memory.stat")
        return {
            "cpus_soft_limit": allocated.cpus,
            "cpus_system_time_secs": cpu["system"] / _TICKS_PER_S,
            "cpus_user_time_secs": cpu["user"] / _TICKS_PER_S,
            "mem_anon_bytes": memory["total_rss"],
            "mem_cache_bytes": memory["total_cache"],
            "mem_file_bytes": memory["total_cache"],
            "mem_limit_bytes": self._number(container_id, "memory", "memory.limit_in_bytes"),
            "mem_mapped_file_bytes": memory["total_mapped_file"],
            "mem_rss_bytes": memory["total_rss"],
            "mem_soft_limit_bytes": self._number(container_id, "memory", "memory.soft_limit_in_bytes"),
            "mem_swap_bytes": memory["total_swap"],
            "mem_total_bytes": self._number(container_id, "memory", "memory.usage_in_bytes"),
            "mem_unevictable_bytes": memory["total_unevictable"],
            "timestamp": now_s,
        }

    def _table(self, container_id: str, controller: str, name: str) -> dict[str, int]:
        lines = (self._roots[controller] / container_id / name).read_text(encoding="utf-8").splitlines()
        return {key: int(value) for key, _, value in (line.partition(" ") for line in lines)}

    def _number(self, container_id: str, controller: str, name: str) -> int:
        return int((self._roots[controller] / container_id / name).read_text(encoding="utf-8"))

    def _write(self, container_id: str, controller: str, name: str, value: int) -> None:
        (self._roots[controller] / container_id / name).write_text(str(value), encoding="utf-8")


def _hierarchies(mounts: str) -> dict[str, Path]:
    """Where each v1 controller is mounted (proc(5))."""
    found: dict[str, Path] = {}
    for line in mounts.splitlines():
        _, point, kind, options, *_ = line.split()
        if kind == "cgroup":
            found |= {option: Path(point) for option in options.split(",") if option in CONTROLLERS}
    return found
