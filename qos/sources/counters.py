"""Hardware counters of each container: one group of events for each cgroup and CPU."""

from __future__ import annotations

import errno
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from serenity.daemon.clock import Clock
from serenity.qos.frame import PRODUCTION, Floats
from serenity.qos.sources.cgroups import V2
from serenity.qos.sources.cpu_list import parse_cpus
from serenity.qos.sources.draft import Draft, Faults, Row
from serenity.qos.sources.files import FileBudget
from serenity.qos.sources.perf_encoding import Encoder, Encoding, encoder
from serenity.qos.sources.perf_event import Group, Kernel, LinuxKernel
from serenity.qos.sources.perf_probe import HARDWARE, Pmu, Wanted, probe
from serenity.qos.sources.places import Places

ONLINE_CPUS = Path("/sys/devices/system/cpu/online")
# Groups a sample; each takes some 2.5 us (docs/footprint.md).
_MAX_READINGS = 10_000
_OUT_OF_FILES = {errno.EMFILE, errno.ENFILE}
# If the kernel has no files left although our limit has room, others hold them: nothing is opened for so many samples.
_PAUSE_SAMPLES = 10


@dataclass(slots=True)
class _Counted:
    """One container's groups by CPU, and their last counts, read at `at_s`."""

    groups: dict[int, Group] = field(default_factory=dict)
    before: _Counts | None = None
    at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Counts:
    """A row for each CPU: ns enabled, ns running, the counts since the groups were opened.

    All CPUs are in one array: with many CPUs, arithmetic on each one would cost several times as much as the reading.
    """

    cpus: tuple[int, ...]
    rows: npt.NDArray[np.uint64]

    @classmethod
    def read(cls, groups: Mapping[int, Group]) -> _Counts:
        """Reads the groups, one at least.  Raises OSError as `Group.read` does."""
        packed = b"".join([each.read_packed() for each in groups.values()])
        return cls(tuple(groups), np.frombuffer(packed, np.uint64).reshape(len(groups), -1)[:, 1:])

    def since(self, before: _Counts) -> Floats:
        """The growth since `before`, on the CPUs that are in both."""
        now, then = self.rows, before.rows
        if self.cpus != before.cpus:
            both = [cpu for cpu in self.cpus if cpu in before.cpus]
            now, then = now[[self.cpus.index(cpu) for cpu in both]], then[[before.cpus.index(cpu) for cpu in both]]
        return np.where(now > then, now - then, np.uint64(0)).astype(np.float64)


class Counters:
    """Fills ``cycles``, ``instructions``, ``llc_misses`` and ``stalls``, as far as the PMU counts them.

    Readings: ``perf_running``, the share of the time in which the groups were on the PMU (counts
    are scaled up by it), and ``perf_left_out``, how many containers are not counted because
    each takes events x CPUs open files and the limit is reached: production goes first.

    A sample reads at most `max_readings` groups, for each container all or none.  Containers that
    had to wait come first the next time, with a rate over the longer time.
    """

    def __init__(
        self,
        clock: Clock,
        places: Places,
        faults: Faults,
        budget: FileBudget,
        kernel: Kernel | None = None,
        wanted: Wanted = HARDWARE,
        encode: Encoder | None = None,
        online: Path = ONLINE_CPUS,
        max_readings: int = _MAX_READINGS,
    ) -> None:
        self._clock = clock
        self._places = places
        self._faults = faults
        self._budget = budget
        self._kernel = kernel if kernel is not None else LinuxKernel()
        self._wanted = wanted
        self._encode = encode
        self._online = online
        self._max_readings = max_readings
        self._waiting: set[str] = set()  # Rows that wait for their turn to be read.
        self._pause_samples = 0  # Samples left in which nothing is opened.
        self._pmu: Pmu | None = None
        self._counted: dict[str, _Counted] = {}

    def read(self, draft: Draft) -> None:
        if not draft.rows or (self._pmu is not None and not self._pmu.events):
            return
        cpus = parse_cpus(self._online.read_text())
        if self._pmu is None:
            self._pmu = probe(self._kernel, self._wanted, self._encode or encoder(), cpus[0])
            for each in self._pmu.lacks:
                self._faults.lacks(each)
        if not self._pmu.events:
            return
        enabled_ns = running_ns = left_out = 0
        readings_left, order = max(self._max_readings, len(cpus)), self._order(draft)
        self._waiting.clear()
        self._pause_samples = max(0, self._pause_samples - 1)
        for i in order:
            row = draft.rows[i]
            draft.turns.give()
            folder = self._folder(row, draft)
            if folder is None:
                continue
            if len(cpus) > readings_left:
                self._waiting.add(row.id)
                continue
            try:
                if not self._open(row, folder, cpus, list(self._pmu.events.values())):
                    left_out += 1
                    continue
                elapsed_s, grown = self._take(self._counted[row.id])
            except OSError as error:
                self._drop(row.id)
                self._faults.count("counters", row.id, _explained(error, folder))
                continue
            readings_left -= len(cpus)
            enabled_ns += grown[:, 0].sum()
            running_ns += grown[:, 1].sum()
            values = scaled(grown)
            for column, value in zip(self._pmu.events, () if values is None else values.tolist(), strict=False):
                draft.fill(column, i, value / elapsed_s)
        self._tell(draft, running_ns / enabled_ns if enabled_ns else None, left_out)

    def keep(self, row_ids: Collection[str]) -> None:
        for gone in self._counted.keys() - set(row_ids):
            self._drop(gone)

    def close(self) -> None:
        self.keep(())

    def _order(self, draft: Draft) -> list[int]:
        """Containers that had to wait, then production, then best-effort."""
        rows = draft.rows
        return sorted(
            range(len(rows)), key=lambda i: (rows[i].id not in self._waiting, rows[i].container.role != PRODUCTION)
        )

    def _folder(self, row: Row, draft: Draft) -> Path | None:
        """The cgroup to count: on v1 in the hierarchy of perf_event, which Mesos uses only if it is told to."""
        try:
            place = self._places.of(row, draft)
        except (OSError, ValueError):
            return None  # Its process is gone: that fault is counted where its CPU use is read.
        v1 = "perf_event" in self._places.mounts.points
        folder = place.cgroup.folder("perf_event" if v1 else V2)
        if folder is None and place.settled and place.cgroup and v1 and row.container.role == PRODUCTION:
            self._faults.lacks(
                "containers have no cgroup of their own in the perf_event hierarchy, and are not counted:"
                " add cgroups/perf_event to the agent's --isolation"
            )
        return folder

    def _open(self, row: Row, folder: Path, cpus: Sequence[int], events: Sequence[Encoding]) -> bool:
        """Opens what is missing, as CPUs come and go.  False if there are too few files; the row then has none open."""
        counted = self._counted.setdefault(row.id, _Counted())
        for offline in counted.groups.keys() - set(cpus):
            self._close(counted, offline)
        missing = [cpu for cpu in cpus if cpu not in counted.groups]
        if not missing:
            return True
        if self._pause_samples or not self._budget.take(len(events) * len(missing)):
            self._drop(row.id)
            return False
        opened = 0
        try:
            for cpu in missing:
                try:
                    counted.groups[cpu] = Group.of_cgroup(self._kernel, events, folder, cpu)
                    opened += 1
                except OSError as error:
                    if error.errno != errno.ENODEV:  # Else the CPU went offline since we looked.
                        raise
        except OSError as error:
            if error.errno not in _OUT_OF_FILES:
                raise
            self._pause_samples = _PAUSE_SAMPLES
            self._drop(row.id)
            return False
        finally:
            self._budget.give_back(len(events) * (len(missing) - opened))
        return True

    def _take(self, counted: _Counted) -> tuple[float, Floats]:
        """The seconds since the last reading, and what was counted since then on each CPU (see `scaled`)."""
        now_s, before, now = self._clock.monotonic_s(), counted.before, None
        if counted.groups:
            now = _Counts.read(counted.groups)
        elapsed_s = now_s - counted.at_s
        counted.before, counted.at_s = now, now_s
        if before is None or now is None or elapsed_s <= 0:
            return elapsed_s, np.empty((0, 2))
        return elapsed_s, now.since(before)

    def _tell(self, draft: Draft, running: float | None, left_out: int) -> None:
        if running is not None:
            draft.readings["perf_running"] = min(1.0, running)
            if running == 0:
                self._faults.lacks(
                    "the hardware counters are all held by others, and nothing is counted:"
                    " sysctl kernel.nmi_watchdog=0 frees one; see who else uses perf"
                )
        draft.readings["perf_left_out"] = left_out
        if left_out:
            self._faults.lacks(
                f"with a limit of {self._budget.limit} open files not every container has hardware counters"
                " (reading perf_left_out): raise it, such as by LimitNOFILE= of the service"
            )

    def _drop(self, row_id: str) -> None:
        counted = self._counted.pop(row_id, _Counted())
        for cpu in list(counted.groups):
            self._close(counted, cpu)

    def _close(self, counted: _Counted, cpu: int) -> None:
        group = counted.groups.pop(cpu)
        self._budget.give_back(len(group))
        group.close()


def scaled(grown: Floats) -> Floats | None:
    """Counts of one container over all CPUs, scaled to the whole time in which it ran.

        Σ count · enabled / running,   over the CPUs where its group got onto the PMU,

    times Σ enabled / Σ enabled on these CPUs.  Zeros if the container did not run at all; None if it
    ran and was counted on no CPU, or if `grown` is empty.  `grown` has a row for each CPU: the time
    enabled, the time running, the counts.

    Source: Linux ``tools/perf/design.txt``, time_enabled and time_running.
    """
    enabled, running, counts = grown[:, 0], grown[:, 1], grown[:, 2:]
    ran = running > 0
    if not ran.any():
        return counts.sum(axis=0) * 0.0 if len(grown) and not enabled.any() else None
    seen = enabled.sum() / enabled[ran].sum()
    found: Floats = (counts[ran] * (seen * enabled[ran] / running[ran])[:, None]).sum(axis=0)
    return found


def _explained(error: OSError, folder: Path) -> str:
    if error.errno == errno.ENOENT and folder.is_dir():
        return (
            f"{folder} is there, and cannot be counted: on a bare cgroup v2 perf works only once"
            " some controller is enabled in the root's cgroup.subtree_control"
        )
    return f"{folder}: {error.strerror}"
