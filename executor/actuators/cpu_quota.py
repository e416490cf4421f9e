"""Throttles by a CFS quota on the task's own cgroup: exact, at once, and for the whole tree."""

from __future__ import annotations

import math

from serenity.executor.actuators import ActuatorError, Target

_TOLERANCE_CORES = 0.001  # Quotas are whole microseconds in a period of 100 ms.


class CpuQuota:
    name = "cpu quota"
    stops_processes = False

    def available(self, target: Target) -> str | None:
        return None if target.cgroup is not None else "the task has no cgroup of its own"

    def apply(self, target: Target, cores: float, use_cores: float) -> None:
        if target.cgroup is None:
            raise ActuatorError("the task has no cgroup of its own")
        try:
            target.cgroup.set_quota(cores)
            in_force = target.cgroup.quota()
        except OSError as error:
            raise ActuatorError(f"{error.strerror} ({error.filename})") from error
        if in_force is None or not math.isclose(in_force, max(cores, 0.01), abs_tol=_TOLERANCE_CORES):
            raise ActuatorError(f"wrote a quota of {cores:.3f} cores, the kernel says {in_force}")

    def undo(self, target: Target) -> None:
        if target.cgroup is None:
            return
        try:
            target.cgroup.set_quota(None)
        except FileNotFoundError:
            return  # The task has ended, and its cgroup with it.
        except OSError as error:
            raise ActuatorError(f"{error.strerror} ({error.filename})") from error
