"""Hardware counters of each container: one group of events a cgroup and CPU."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from serenity.daemon.clock import Clock
from serenity.qos.frame import PRODUCTION
from serenity.qos.sources.cgroups import V2
from serenity.qos.sources.draft import Draft, Faults, Row
from serenity.qos.sources.files import FileBudget
from serenity.qos.sources.perf_encoding import Encoder, Encoding, encoder
from serenity.qos.sources.perf_event import Counts, Group, Kernel, LinuxKernel
from serenity.qos.sources.perf_probe import HARDWARE, Pmu, Wanted, probe
from serenity.qos.sources.places import Places

ONLINE_CPUS = Path("/sys/devices/system/cpu/online")
_OUT_OF_FILES = {errno.EMFILE, errno.ENFILE}


@dataclass(slots=True)
class _Counted:
    """One container's groups by CPU, and what each said last, at `at_s`."""

    groups: dict[int, Group] = field(default_factory=dict)
    before: dict[int, Counts] = field(default_factory=dict)
    at_s: float = 0.0


class Counters:
    """Fills ``cycles``, ``instructions``, ``llc_misses`` and ``stalls``, as far as the PMU counts them.

    Readings: ``perf_running``, the share of the time in which the groups were on the PMU (counts
    are scaled up by it), and ``perf_left_out``, how many containers are not counted because
    each takes events x CPUs open files and the limit is reached: production goes first.
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
    ) -> None:
        self._clock = clock
        self._places = places
        self._faults = faults
        self._budget = budget
        self._kernel = kernel if kernel is not None else LinuxKernel()
        self._wanted = wanted
        self._encode = encode
        self._online = online
        self._pmu: Pmu | None = None
        self._counted: dict[str, _Counted] = {}

    def read(self, draft: Draft) -> None:
        if not draft.rows:
            return
        cpus = parse_cpus(self._online.read_text())
        if self._pmu is None:
            self._pmu = probe(self._kernel, self._wanted, self._encode or encoder(), cpus[0])
            for each in self._pmu.lacks:
                self._faults.lacks(each)
        if not self._pmu.events:
            return
        deltas: list[Counts] = []
        left_out = 0
        for i in sorted(range(len(draft.rows)), key=lambda i: draft.rows[i].container.role != PRODUCTION):
            row = draft.rows[i]
            folder = self._folder(row)
            if folder is None:
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
            deltas += grown
            values = scaled(grown) if elapsed_s > 0 else None
            for column, value in zip(self._pmu.events, values or (), strict=False):
                draft.fill(column, i, value / elapsed_s)
        self._tell(draft, deltas, left_out)

    def keep(self, row_ids: Collection[str]) -> None:
        for gone in self._counted.keys() - set(row_ids):
            self._drop(gone)

    def close(self) -> None:
        self.keep(())

    def _folder(self, row: Row) -> Path | None:
        """Where it is counted: on v1 in a hierarchy of its own, which Mesos uses only when it is told to."""
        try:
            cgroup = self._places.of(row).cgroup
        except OSError:
            return None  # Its process is gone, which is counted where its CPU use is read.
        v1 = "perf_event" in self._places.mounts.points
        folder = cgroup.folder("perf_event" if v1 else V2)
        if folder is None and cgroup and v1 and row.container.role == PRODUCTION:
            self._faults.lacks(
                "containers have no cgroup of their own in the perf_event hierarchy, and are not counted:"
                " add cgroups/perf_event to the agent's --isolation"
            )
        return folder

    def _open(self, row: Row, folder: Path, cpus: Sequence[int], events: Sequence[Encoding]) -> bool:
        """Follows CPUs that come and go.  False where there are not files enough; nothing is open then."""
        counted = self._counted.setdefault(row.id, _Counted())
        for offline in counted.groups.keys() - set(cpus):
            self._close(counted, offline)
        for cpu in cpus:
            if cpu in counted.groups:
                continue
            if not self._budget.take(len(events)):
                self._drop(row.id)
                return False
            try:
                group = Group.of_cgroup(self._kernel, events, folder, cpu)
            except OSError as error:
                self._budget.give_back(len(events))
                if error.errno == errno.ENODEV:
                    continue  # It went offline since we looked.
                if error.errno in _OUT_OF_FILES:
                    self._drop(row.id)
                    return False
                raise
            counted.groups[cpu] = group
        return True

    def _take(self, counted: _Counted) -> tuple[float, list[Counts]]:
        """The seconds since it was last read, and what each group has counted since, if it was read before."""
        now_s = self._clock.monotonic_s()
        elapsed_s = now_s - counted.at_s
        now = {cpu: group.read() for cpu, group in counted.groups.items()}
        grown = [_grown(counted.before[cpu], counts) for cpu, counts in now.items() if cpu in counted.before]
        counted.before, counted.at_s = now, now_s
        return (elapsed_s, grown) if grown else (0.0, [])

    def _tell(self, draft: Draft, deltas: Sequence[Counts], left_out: int) -> None:
        enabled_s = sum(each.enabled_s for each in deltas)
        if enabled_s > 0:
            draft.readings["perf_running"] = min(1.0, sum(each.running_s for each in deltas) / enabled_s)
            if draft.readings["perf_running"] == 0:
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
        counted.before.pop(cpu, None)
        self._budget.give_back(len(group))
        group.close()


def scaled(deltas: Iterable[Counts]) -> tuple[float, ...] | None:
    """Counts of one container over all CPUs, scaled to all of the time in which it ran.

        Σ count · enabled / running,   over the CPUs where its group got onto the PMU,

    times Σ enabled / Σ enabled there.  Zeros if it did not run at all; None if it ran and was
    nowhere counted, or if there is nothing.

    Source: Linux ``tools/perf/design.txt``, time_enabled and time_running.
    """
    deltas = list(deltas)
    ran = [each for each in deltas if each.running_s > 0]
    enabled_s = sum(each.enabled_s for each in deltas)
    if not ran:
        return tuple(0.0 for _ in deltas[0].values) if deltas and enabled_s == 0 else None
    seen = enabled_s / sum(each.enabled_s for each in ran)
    columns = zip(*(each.values for each in ran), strict=True)
    weights = [seen * each.enabled_s / each.running_s for each in ran]
    return tuple(sum(value * weight for value, weight in zip(column, weights, strict=True)) for column in columns)


def parse_cpus(text: str) -> list[int]:
    """A list of CPUs as the kernel writes it: ``0-3,8``."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return cpus


def _grown(before: Counts, now: Counts) -> Counts:
    return Counts(
        max(0.0, now.enabled_s - before.enabled_s),
        max(0.0, now.running_s - before.running_s),
        tuple(max(0, b - a) for a, b in zip(before.values, now.values, strict=True)),
    )


def _explained(error: OSError, folder: Path) -> str:
    if error.errno == errno.ENOENT and folder.is_dir():
        return (
            f"{folder} is there, and cannot be counted: on a bare cgroup v2 perf works only once"
            " some controller is enabled in the root's cgroup.subtree_control"
        )
    return f"{folder}: {error.strerror}"
