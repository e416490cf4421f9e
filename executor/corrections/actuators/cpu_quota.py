"""Throttles by a CFS quota on the task's own cgroup: exact, at once, and for the whole tree."""

from __future__ import annotations

from pathlib import Path

from serenity.executor.corrections.actuators import ActuatorError, Allowance, Resource, Target
from serenity.executor.corrections.actuators.knobs_of_tasks import KnobsOfTasks
from serenity.executor.corrections.kernel_files import Knob

_LEAST_QUOTA_US = 1_000  # The kernel's own minimum.


class CpuQuota(KnobsOfTasks):
    name = "cpu quota"
    of: Resource = "cpu"
    stops_processes = False

    def available(self, target: Target) -> str | None:
        if target.folder("cpu") is None:
            return "the task has no cgroup of its own"
        return None if _file(target).exists() else f"this kernel has no {_file(target).name}"

    def apply(self, target: Target, allowance: Allowance) -> str:
        """In the period that there is; 100 ms as the kernel makes it."""
        file = _file(target)
        try:
            if target.v2:
                period_us = int(self._kernel.read(file).split()[1])
                value = f"{_quota_us(allowance.cores, period_us)} {period_us}"
            else:
                period_us = int(self._kernel.read(file.with_name("cpu.cfs_period_us")))
                value = str(_quota_us(allowance.cores, period_us))
        except OSError as error:
            raise ActuatorError.of(error) from error
        except (ValueError, LookupError):
            raise ActuatorError(f"{file} is not written as this version knows it") from None
        self._turn(target, {Knob(file): value})
        return str(allowance)


def _file(target: Target) -> Path:
    folder = target.folder("cpu")
    if folder is None:
        raise ActuatorError("the task has no cgroup of its own")
    return folder / ("cpu.max" if target.v2 else "cpu.cfs_quota_us")


def _quota_us(cores: float, period_us: int) -> int:
    return max(_LEAST_QUOTA_US, round(cores * period_us))
