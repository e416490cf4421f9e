"""Throttles what a task reads and writes, on every device that it has used, each way by itself.

v2: ``io.max``.  v1: ``blkio.throttle``, which reaches reads and direct writes: what goes
through the page cache is written by the kernel, and not in the task's name.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path

from serenity.executor.corrections.actuators import ActuatorError, Allowance, Resource, Target
from serenity.executor.corrections.actuators.knobs_of_tasks import KnobsOfTasks
from serenity.executor.corrections.kernel_files import Knob
from serenity.executor.corrections.originals import Originals

# Less than this and a task cannot even read the program that would handle its SIGTERM.
_LEAST_BYTES_S = 64 * 1024
# Fields of /sys/block/*/stat, from 0 (Documentation/block/stat.rst).
_SECTORS_READ, _SECTORS_WRITTEN = 2, 6
Way = tuple[str, str]  # A device, as ``8:0``, and "read" or "write".


class IoLimit(KnobsOfTasks):
    """The task keeps its share of the bytes a second that were measured when it was first throttled.

    They are split over devices and ways as all that it has read and written so far was.  A v1
    kernel may not count by device before there is a limit (Linux 6.10): then every disk in use
    on the machine is limited, split over ways as the task's processes have read and written.
    """

    name = "io limit"
    of: Resource = "io"
    stops_processes = False

    def __init__(self, originals: Originals, sys: Path = Path("/sys"), proc: Path = Path("/proc")) -> None:
        super().__init__(originals)
        self._sys = sys
        self._proc = proc
        self._used_bytes_s: dict[str, dict[Way, float]] = {}

    def available(self, target: Target) -> str | None:
        folder = _folder(target)
        if folder is None:
            return "the task has no io cgroup of its own"
        name = "io.max" if target.v2 else "blkio.throttle.read_bps_device"
        return None if (folder / name).exists() else f"{folder} has no {name}"

    def apply(self, target: Target, allowance: Allowance) -> str:
        folder = _folder(target)
        if folder is None:
            raise ActuatorError("the task has no io cgroup of its own")
        used = self._used_bytes_s.get(target.task_id) or self._used(target, folder)
        limits = {way: max(_LEAST_BYTES_S, round(allowance.share * bytes_s)) for way, bytes_s in used.items()}
        self._turn(target, {_knob(folder, target.v2, way): str(limit) for way, limit in limits.items()})
        self._used_bytes_s[target.task_id] = used
        return ", ".join(f"{device} {verb} {limit / 1e6:.2f} MB/s" for (device, verb), limit in sorted(limits.items()))

    def undo(self, target: Target) -> None:
        self._used_bytes_s.pop(target.task_id, None)
        super().undo(target)

    def _used(self, target: Target, folder: Path) -> dict[Way, float]:
        bytes_s = target.measured.get("io_bytes", math.nan)
        if math.isnan(bytes_s):
            raise ActuatorError("what it reads and writes was not measured")
        try:
            if target.v2:
                done = parsed_io_stat(self._kernel.read(folder / "io.stat"))
            else:
                done = parsed_service_bytes(self._kernel.read(folder / "blkio.throttle.io_service_bytes"))
            total = sum(done.values())
            if not total:
                by_verb = self._done_by_processes(folder)
                total = sum(by_verb.values())
                done = {(disk, verb): count for disk in self._disks() for verb, count in by_verb.items()}
        except (OSError, ValueError) as error:
            raise ActuatorError(f"cannot tell which devices it uses: {error}") from error
        if not total or not done:
            raise ActuatorError("it has used no device")
        return {way: bytes_s * each / total for way, each in done.items()}

    def _done_by_processes(self, folder: Path) -> dict[str, int]:
        """All that the cgroup's processes have read and written so far, in bytes (proc(5) ``/proc/PID/io``)."""
        done = {"read": 0, "write": 0}
        for pid in self._kernel.read(folder / "cgroup.procs").split():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # It ended meanwhile.
                fields = dict(line.split(": ") for line in (self._proc / pid / "io").read_text().splitlines())
                done["read"] += int(fields["read_bytes"])
                done["write"] += int(fields["write_bytes"])
        return done

    def _disks(self) -> list[str]:
        """Whole disks that were ever used, by number."""
        used = []
        for disk in (self._sys / "block").iterdir():
            fields = (disk / "stat").read_text().split()
            if int(fields[_SECTORS_READ]) or int(fields[_SECTORS_WRITTEN]):
                used.append((disk / "dev").read_text().strip())
        return used


def parsed_io_stat(text: str) -> dict[Way, int]:
    """v2: ``8:0 rbytes=90112 wbytes=0 …``; devices without any bytes are left out."""
    done: dict[Way, int] = {}
    for line in text.splitlines():
        device, *pairs = line.split()
        fields = dict(each.split("=", 1) for each in pairs)
        for verb, name in (("read", "rbytes"), ("write", "wbytes")):
            done[device, verb] = int(fields.get(name, 0))
    return _with_bytes(done)


def parsed_service_bytes(text: str) -> dict[Way, int]:
    """v1: ``8:0 Read 90112``, a line for each device and kind, and a last one for the total."""
    done: dict[Way, int] = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in ("Read", "Write"):
            done[words[0], words[1].lower()] = int(words[2])
    return _with_bytes(done)


def _with_bytes(done: Mapping[Way, int]) -> dict[Way, int]:
    """With both ways of each device that has been used: a limit must not be one-sided."""
    used = {device for (device, _), count in done.items() if count}
    return {way: count for way, count in done.items() if way[0] in used}


def _folder(target: Target) -> Path | None:
    return target.folder("io" if target.v2 else "blkio")


def _knob(folder: Path, v2: bool, way: Way) -> Knob:
    device, verb = way
    if v2:
        return Knob(folder / "io.max", f"{device} {verb[0]}bps")
    return Knob(folder / f"blkio.throttle.{verb}_bps_device", device)
