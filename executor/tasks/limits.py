"""What one task may use, lest it take the others down with it: held by the kernel where it can, else watched.

|                       | in a cgroup of its own                    | without one, looked at once a second      |
|-----------------------|-------------------------------------------|-------------------------------------------|
| memory                | its limit; the kernel's OOM killer ends   | resident memory of the tree (PSS), and    |
|                       | it: on v1 one process, and we the others  | SIGKILL                                   |
| processes and threads | ``pids.max``: it can make no more         | counted, and SIGKILL                      |

Its disk has no cgroup: `disk_watch.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from serenity.executor.tasks import processes
from serenity.executor.tasks.cgroups import OwnedCgroup
from serenity.executor.tasks.processes import Status
from serenity.wire.mesos.quantities import format_mem
from serenity.wire.messages.reasons import Reason

logger = logging.getLogger(__name__)

# As Mesos has it for a container: in less not even an interpreter starts.
LEAST_MEM_BYTES = 32 << 20
# A huge page: a task that was refused one had that much less than its limit.
_LARGEST_CHARGE_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class Breach:
    """A limit that a task has broken; `text` says by how much."""

    reason: Reason
    text: str


class TaskLimits:
    """Of one task.  Where its cgroup is gone, or the kernel refuses, the limit is watched instead of held."""

    def __init__(self, mem_bytes: int, pids: int, cgroup: OwnedCgroup | None) -> None:
        self._mem_bytes = max(LEAST_MEM_BYTES, mem_bytes)
        self._pids = pids
        folders = cgroup.folders if cgroup is not None else {}
        self._memory = _Memory(folders["memory"], cgroup.v2) if cgroup is not None and "memory" in folders else None
        self._pids_folder = folders.get("pids")
        self._cpu = _cpu_meter(cgroup)
        self._most_seen_bytes = 0
        # The tree's resident memory counts what processes share once for each: looked at closely only from here on.
        self._suspect_bytes = self._mem_bytes

    def impose(self) -> None:
        """Before the task is in its cgroup."""
        try:
            if self._memory is not None:
                self._memory.limit(self._mem_bytes)
        except OSError as error:
            logger.warning("a task's memory is watched, not limited: %s", error)
            self._memory = None
        try:
            if self._pids_folder is not None:
                (self._pids_folder / "pids.max").write_text(str(self._pids))
        except OSError as error:
            logger.warning("a task's processes are watched, not limited: %s", error)
            self._pids_folder = None

    @property
    def watched(self) -> bool:
        """Whether `look` needs the task's processes."""
        return self._memory is None or self._pids_folder is None

    def look(self, members: Sequence[Status]) -> Breach | None:
        """What it has broken.  `members`: its processes; may be left out where it is not `watched`."""
        return self._too_much_memory(members) or self._too_many_processes(members)

    def after_exit(self) -> Breach | None:
        """Whether it was the kernel's OOM killer."""
        try:
            return self._killed_by_kernel(self._memory) if self._memory is not None else None
        except OSError:
            return None  # Its cgroup is gone; then nobody knows.

    def peak_mem_bytes(self) -> int | None:
        """The most that it has had; None when nobody has looked."""
        try:
            if self._memory is not None:
                self._see(self._memory.peak_bytes())
        except OSError:
            pass  # Its cgroup is gone; what was seen before counts.
        return self._most_seen_bytes or None

    def cpu_s(self) -> float | None:
        """CPU time of all its processes; None where nobody has counted it."""
        try:
            return self._cpu.read() if self._cpu is not None else None
        except OSError:
            return None  # As above.

    def _see(self, used_bytes: int) -> None:
        self._most_seen_bytes = max(self._most_seen_bytes, used_bytes)

    def _too_much_memory(self, members: Sequence[Status]) -> Breach | None:
        if self._memory is not None:
            try:
                if not self._memory.keeps_peak:
                    self._see(self._memory.peak_bytes())
                return self._killed_by_kernel(self._memory)
            except OSError as error:
                logger.warning("a task's memory is watched from now on; its cgroup is gone: %s", error)
                self._memory = None
        resident_bytes = sum(each.resident_bytes for each in members)
        if resident_bytes <= self._suspect_bytes:
            self._see(min(resident_bytes, self._mem_bytes))
            return None
        used_bytes = sum(_proportional_bytes(each) for each in members)
        self._see(used_bytes)
        if used_bytes > self._mem_bytes:
            return Breach(Reason.MEMORY_LIMIT, f"{format_mem(used_bytes)} of {format_mem(self._mem_bytes)}")
        # What it really uses grows by no more than this does.
        self._suspect_bytes = resident_bytes + self._mem_bytes - used_bytes
        return None

    def _killed_by_kernel(self, memory: _Memory) -> Breach | None:
        if not memory.oom_kills():
            return None
        if memory.at_its_limit():
            limit = format_mem(self._mem_bytes)
            return Breach(Reason.MEMORY_LIMIT, f"the kernel's OOM killer ended it at its limit of {limit}")
        return Breach(Reason.QOS_MEMORY, "the kernel's OOM killer chose it, below its own limit")

    def _too_many_processes(self, members: Sequence[Status]) -> Breach | None:
        if self._pids_folder is not None:
            return None
        count = sum(each.threads for each in members)
        if count <= self._pids:
            return None
        # No reason code says just that; it is the job's own doing.
        return Breach(Reason.COMMAND_FAILED, f"it had {count} processes and threads, {self._pids} are allowed")


def _proportional_bytes(status: Status) -> int:
    found = processes.proportional_bytes(status.process.pid)
    return status.resident_bytes if found is None else found


class _Memory:
    """A memory cgroup.  Methods raise OSError."""

    def __init__(self, folder: Path, v2: bool) -> None:
        self._folder = folder
        self._v2 = v2
        self._kills_file = str(folder / ("memory.events" if v2 else "memory.oom_control"))
        self._peak_name = "memory.peak" if v2 else "memory.max_usage_in_bytes"
        self.keeps_peak = True  # On v2 since Linux 5.19.

    def limit(self, mem_bytes: int) -> None:
        """Without swap: what a best-effort task swaps, production's disk would bear."""
        self.keeps_peak = (self._folder / self._peak_name).exists()
        if self._v2:
            (self._folder / "memory.max").write_text(str(mem_bytes))
            swap = self._folder / "memory.swap.max"
            if swap.exists():
                swap.write_text("0")
            (self._folder / "memory.oom.group").write_text("1")
            return
        (self._folder / "memory.limit_in_bytes").write_text(str(mem_bytes))
        with_swap = self._folder / "memory.memsw.limit_in_bytes"
        if with_swap.exists():
            with_swap.write_text(str(mem_bytes))

    def peak_bytes(self) -> int:
        """The most so far; where the kernel does not keep it, what is used now."""
        return self._number(self._peak_name if self.keeps_peak else "memory.current")

    def oom_kills(self) -> int:
        """How many of its processes were killed, for any lack of memory, the whole machine's too."""
        return self._kills().get("oom_kill", 0)

    def at_its_limit(self) -> bool:
        """Whether its own limit ever refused it memory; on v1 also where freeing its page cache helped."""
        if self._v2:
            return self._kills().get("oom", 0) > 0
        # Not the fail counts: newer kernels have those files, and count nothing.
        names = ("memory.max_usage_in_bytes", "memory.memsw.max_usage_in_bytes")
        most_bytes = max(self._number(each) for each in names if (self._folder / each).exists())
        return most_bytes + _LARGEST_CHARGE_BYTES > self._number("memory.limit_in_bytes")

    def _number(self, name: str) -> int:
        return int((self._folder / name).read_text())

    def _kills(self) -> dict[str, int]:
        with open(self._kills_file) as file:
            return {key: int(value) for key, value in map(str.split, file)}


@dataclass(frozen=True, slots=True)
class _CpuMeter:
    file: Path
    key: str  # Empty: the file is one number.
    per_s: float

    def read(self) -> float:
        """Seconds.  Raises OSError."""
        text = self.file.read_text()
        if self.key:
            text = next(line.split()[1] for line in text.splitlines() if line.startswith(f"{self.key} "))
        return int(text) / self.per_s


def _cpu_meter(cgroup: OwnedCgroup | None) -> _CpuMeter | None:
    if cgroup is None:
        return None
    if cgroup.v2:
        return _CpuMeter(cgroup.folder / "cpu.stat", "usage_usec", 1e6)
    accounting = cgroup.folders.get("cpuacct")
    return None if accounting is None else _CpuMeter(accounting / "cpuacct.usage", "", 1e9)
