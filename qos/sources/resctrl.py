"""Cache occupancy and memory bandwidth of each container, by resctrl (Intel RDT, AMD QoS).

Source: Linux ``Documentation/filesystems/resctrl.rst``.  A container gets a monitoring group
``serenity-…`` of its own, below the control group that its processes are in already, so that
no container's allocation changes.  Groups made by other programs, and the processes in them, are left alone.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from serenity.daemon.clock import Clock
from serenity.qos.frame import PRODUCTION
from serenity.qos.sources.draft import Draft, Faults, Row
from serenity.qos.sources.files import KeptFiles
from serenity.qos.sources.rates import Rates
from serenity.qos.sources.residents import Residents
from serenity.qos.sources.turns import Turns

ROOT = Path("/sys/fs/resctrl")
_PREFIX = "serenity-"
# Children inherit their parent's group; threads that join the container otherwise are put into it this often.
_ASSIGN_EVERY_S = 10.0
_OCCUPANCY = "llc_occupancy"
# The first that the processor has is used: it counts the memory of other sockets, too.
_BANDWIDTH = ("mbm_total_bytes", "mbm_local_bytes")


@dataclass(slots=True)
class _Group:
    folder: Path
    files: dict[str, tuple[str, ...]]  # Feature → its file in each L3 domain.
    assign_at_s: float = 0.0


class _Elsewhere(Exception):  # noqa: N818 - no error: somebody else has it
    """The container is in a monitoring group that another program made."""


class Resctrl:
    """Fills ``llc_bytes`` and ``mem_bw``, each summed over the L3 caches.

    Reading ``resctrl_left_out``: containers for which the processor has no monitoring id (RMID)
    left; production goes first.
    """

    def __init__(
        self,
        clock: Clock,
        faults: Faults,
        files: KeptFiles,
        residents: Residents,
        root: Path = ROOT,
        proc: Path = Path("/proc"),
        make: Callable[[Path], None] = os.mkdir,
        remove: Callable[[Path], None] = os.rmdir,
    ) -> None:
        self._clock = clock
        self._residents = residents
        self._faults = faults
        self._files = files
        self._root = root
        self._proc = proc
        self._make = make
        self._remove = remove
        self._rates = Rates()
        self._groups: dict[str, _Group] = {}
        self._features: tuple[str, ...] | None = None  # None: not looked up yet.

    def read(self, draft: Draft) -> None:
        if self._features is None:
            self._features = self._begin()
        if not self._features:
            return
        left_out, full = 0, False
        for i in sorted(range(len(draft.rows)), key=lambda i: draft.rows[i].container.role != PRODUCTION):
            draft.turns.give()
            row = draft.rows[i]
            if row.pid is None or (full and row.id not in self._groups):
                left_out += row.pid is not None
                continue
            try:
                self._measure(draft, i, row)
            except _Elsewhere as other:
                self._faults.count("resctrl", row.id, f"it is in {other}, a monitoring group of somebody else")
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    full = True
                    left_out += 1
                    continue
                self._drop(row.id)
                self._faults.count("resctrl", row.id, error)
        draft.readings["resctrl_left_out"] = left_out
        if left_out:
            self._faults.lacks("this processor has not RMIDs enough to watch the cache of every container")

    def keep(self, row_ids: Collection[str]) -> None:
        self._rates.keep(row_ids)
        for gone in self._groups.keys() - set(row_ids):
            self._drop(gone)

    def close(self) -> None:
        self.keep(())

    def _begin(self) -> tuple[str, ...]:
        """The features that the processor measures.  Removes groups that a killed predecessor has left."""
        try:
            features = (self._root / "info/L3_MON/mon_features").read_text().split()
        except OSError:
            self._faults.lacks(
                f"{self._root} has no monitoring of the L3 cache: if the processor can (Intel RDT, AMD QoS),"
                " mount it by: mount -t resctrl resctrl /sys/fs/resctrl"
            )
            return ()
        for left in (*self._root.glob(f"mon_groups/{_PREFIX}*"), *self._root.glob(f"*/mon_groups/{_PREFIX}*")):
            self._rmdir(left)
        bandwidth = next((each for each in _BANDWIDTH if each in features), None)
        return tuple(each for each in (_OCCUPANCY, bandwidth) if each is not None and each in features)

    def _measure(self, draft: Draft, i: int, row: Row) -> None:
        """Raises _Elsewhere; OSError, with ENOSPC when there is no RMID left."""
        group = self._groups.get(row.id)
        if group is None:
            group = self._groups[row.id] = self._made(row)
        now_s = self._clock.monotonic_s()
        if now_s >= group.assign_at_s:
            self._assign(group, self._residents.threads(row, draft), draft.turns)
            group.assign_at_s = now_s + _ASSIGN_EVERY_S
        for feature, paths in group.files.items():
            total = _sum(self._files.read(row.id, path) for path in paths)
            if total is None:
                continue
            if feature == _OCCUPANCY:
                draft.fill("llc_bytes", i, total)
            else:
                draft.fill("mem_bw", i, self._rates.rate(row.id, feature, now_s, total))

    def _made(self, row: Row) -> _Group:
        control, monitoring = self._groups_of(row)
        folder = self._root / control / "mon_groups" / group_name(row.id)
        if monitoring not in ("", folder.name):
            raise _Elsewhere(monitoring)
        with contextlib.suppress(FileExistsError):
            self._make(folder)
        domains = sorted(folder.glob("mon_data/mon_L3_*"))
        return _Group(
            folder, {feature: tuple(str(each / feature) for each in domains) for feature in self._features or ()}
        )

    def _groups_of(self, row: Row) -> tuple[str, str]:
        """Names of the control and monitoring group of the row's first process; "" is the default group."""
        try:
            text = (self._proc / str(row.pid) / "cpu_resctrl_groups").read_text()
        except FileNotFoundError:
            return "", ""  # This kernel does not tell.
        found = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return found.get("res", "").strip("/"), found.get("mon", "").strip("/")

    def _assign(self, group: _Group, threads: Collection[int], turns: Turns) -> None:
        tasks = group.folder / "tasks"
        missing = set(threads) - set(map(int, tasks.read_text().split()))
        for thread in sorted(missing):
            turns.give()
            with open(tasks, "a") as file, contextlib.suppress(ProcessLookupError):  # The thread has ended meanwhile.
                file.write(f"{thread}\n")
                file.flush()

    def _drop(self, row_id: str) -> None:
        group = self._groups.pop(row_id, None)
        if group is not None:
            self._rmdir(group.folder)

    def _rmdir(self, folder: Path) -> None:
        try:
            self._remove(folder)
        except FileNotFoundError:
            pass  # Removed by another program: the aim is reached.
        except OSError as error:
            self._faults.lacks(f"{folder} cannot be removed: {error.strerror}")


def group_name(row_id: str) -> str:
    """A file name that no other row has."""
    readable = re.sub(r"[^A-Za-z0-9_.-]", "_", row_id)[:100]
    return f"{_PREFIX}{readable}-{hashlib.sha256(row_id.encode()).hexdigest()[:8]}"


def _sum(texts: Iterable[bytes]) -> float | None:
    """Over all domains; None where one has no number (``Unavailable``, ``Error``, ``Unassigned``)."""
    values = [text.strip() for text in texts]
    return float(sum(map(int, values))) if values and all(each.isdigit() for each in values) else None
