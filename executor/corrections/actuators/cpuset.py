"""Throttles by the number of CPUs that the task may run on: whole ones, where there is no quota."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from serenity.executor.corrections.actuators import ActuatorError, Allowance, Resource, Target
from serenity.executor.corrections.actuators.knobs_of_tasks import KnobsOfTasks
from serenity.executor.corrections.kernel_files import Knob
from serenity.executor.corrections.originals import Originals
from serenity.qos.sources.cpu_list import parse_cpus

_SIBLINGS = "devices/system/cpu/cpu{}/topology/thread_siblings_list"


class Cpuset(KnobsOfTasks):
    """All throttled tasks are put onto the same CPUs, the last ones, hyperthreads of one core together.

    So they are in each other's way, and not in production's.
    """

    name = "cpuset"
    of: Resource = "cpu"
    stops_processes = False

    def __init__(self, originals: Originals, sys: Path = Path("/sys")) -> None:
        super().__init__(originals)
        self._sys = sys
        self._had: dict[str, list[int]] = {}  # CPUs by task, before it was throttled.

    def available(self, target: Target) -> str | None:
        folder = target.folder("cpuset")
        if folder is None:
            return "the task has no cpuset of its own"
        return None if (folder / "cpuset.cpus").exists() else f"{folder} has no cpuset.cpus"

    def apply(self, target: Target, allowance: Allowance) -> str:
        folder = target.folder("cpuset")
        if folder is None:
            raise ActuatorError("the task has no cpuset of its own")
        if allowance.cores < 1:
            raise ActuatorError("a cpuset gives no less than one CPU")
        try:
            had = self._had.get(target.task_id) or self._effective(folder, target.v2)
            chosen = self._by_core(had)[-int(allowance.cores) :]
        except (OSError, ValueError) as error:
            raise ActuatorError(f"cannot tell which CPUs there are: {error}") from error
        self._turn(target, {Knob(folder / "cpuset.cpus"): written(chosen)})
        self._had[target.task_id] = had
        return f"CPUs {written(chosen)} of {written(had)}"

    def undo(self, target: Target) -> None:
        self._had.pop(target.task_id, None)
        super().undo(target)

    def _effective(self, folder: Path, v2: bool) -> list[int]:
        return parse_cpus(self._kernel.read(folder / ("cpuset.cpus.effective" if v2 else "cpuset.effective_cpus")))

    def _by_core(self, cpus: Iterable[int]) -> list[int]:
        def core(cpu: int) -> tuple[int, int]:
            return min(parse_cpus(self._kernel.read(self._sys / _SIBLINGS.format(cpu)))), cpu

        return sorted(cpus, key=core)


def written(cpus: Iterable[int]) -> str:
    """As the kernel spells it: ranges, in order."""
    ranges: list[list[int]] = []
    for cpu in sorted(cpus):
        if ranges and ranges[-1][1] == cpu - 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
