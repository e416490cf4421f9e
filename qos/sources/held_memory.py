"""How much of the machine's memory a best-effort process tree holds; it must not be overestimated.

The estimator subtracts it from the machine's used memory (MemTotal less MemAvailable): each byte
too many here would be slack that does not exist.  Resident sets are too large: they include mapped
files, which the machine can drop, and count memory that a fork shares with its parent once for each.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from serenity.daemon.clock import Clock
from serenity.qos.sources.draft import Faults
from serenity.qos.sources.processes import PAGE_BYTES, Process
from serenity.qos.sources.turns import Turns

# Share of a CPU that the readings of one tree may take: for each the kernel looks at every page, some 6 ms a GiB.
_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class _Reading:
    held_bytes: float
    again_at_s: float


class HeldMemory:
    """Anonymous and shared memory, each page divided by how many processes map it, without freed pages (MADV_FREE).

    While no reading is due, for a while after a long one, the last result stands, or the present
    resident sets if these are smaller: growth shows late, and memory given back is not counted on.

    Source: Linux ``Documentation/filesystems/proc.rst``, ``/proc/PID/smaps_rollup``.
    """

    def __init__(self, clock: Clock, faults: Faults, proc: Path = Path("/proc")) -> None:
        self._clock = clock
        self._faults = faults
        self._proc = proc
        self._last: dict[str, _Reading] = {}

    def of(self, row_id: str, members: Collection[Process], turns: Turns) -> float:
        now_s, before_s, last = self._clock.monotonic_s(), turns.cost_s, self._last.get(row_id)
        if last is None or now_s >= last.again_at_s:
            held_bytes = 0.0
            for each in members:
                turns.give()
                held_bytes += self._of_process(each.pid)
            last = _Reading(held_bytes, now_s + (turns.cost_s - before_s) / _SHARE)
            self._last[row_id] = last
        return min(last.held_bytes, float(sum(each.rss_bytes for each in members)))

    def keep(self, row_ids: Collection[str]) -> None:
        for gone in self._last.keys() - set(row_ids):
            del self._last[gone]

    def _of_process(self, pid: int) -> float:
        try:
            text = (self._proc / str(pid) / "smaps_rollup").read_bytes()
            found = {name: int(amount.split()[0]) for name, _, amount in map(_parted, text.splitlines()[1:])}
            return max(0.0, 1024.0 * (found[b"Pss_Anon"] + found[b"Pss_Shmem"] - found[b"LazyFree"]))
        except ProcessLookupError:
            return 0.0  # The process has ended.
        except (PermissionError, FileNotFoundError, KeyError):  # Processes of other users; kernels before Linux 5.3.
            return self._private(pid)

    def _private(self, pid: int) -> float:
        """Resident memory without mapped files and shared memory; memory shared by fork is included."""
        try:
            _size, resident, shared, *_others = (self._proc / str(pid) / "statm").read_bytes().split()
        except (FileNotFoundError, ProcessLookupError):
            return 0.0
        self._faults.lacks(
            "of best-effort processes without a memory cgroup this process cannot read smaps_rollup:"
            " what they share by fork counts once for each"
        )
        return float(PAGE_BYTES * (int(resident) - int(shared)))


def _parted(line: bytes) -> tuple[bytes, bytes, bytes]:
    return line.partition(b":")
