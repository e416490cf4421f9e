"""Freezes by the cgroup freezer: the whole tree at once, and nobody in it can tell or prevent it.

v1: a frozen process takes no signal, not even SIGKILL, before it is thawed.  v2: it dies of SIGKILL.

From the write on no process of the task runs an instruction of its own.  But a process needs the CPU
to freeze, and at the lowest priority on a busy machine it may wait for it for long.
"""

from __future__ import annotations

import time
from pathlib import Path

from serenity.daemon.clock import Clock
from serenity.executor.corrections.actuators import ActuatorError, Allowance, Resource, Target
from serenity.executor.corrections.actuators.knobs_of_tasks import KnobsOfTasks
from serenity.executor.corrections.kernel_files import Knob
from serenity.executor.corrections.originals import Originals

# Most processes freeze within a millisecond; a process in a system call does when that returns.
_WITHIN_S = 0.05
_LOOK_AGAIN_S = 0.002


class Freezer(KnobsOfTasks):
    name = "cgroup freezer"
    of: Resource = "all"
    stops_processes = True

    def __init__(self, originals: Originals, clock: Clock) -> None:
        super().__init__(originals)
        self._clock = clock

    def available(self, target: Target) -> str | None:
        folder = target.folder("freezer")
        if folder is None:
            return "the task has no freezer cgroup of its own"
        name = "cgroup.freeze" if target.v2 else "freezer.state"
        return None if (folder / name).exists() else f"{folder} has no {name}"

    def apply(self, target: Target, allowance: Allowance) -> str:
        folder = target.folder("freezer")
        if folder is None:
            raise ActuatorError("the task has no freezer cgroup of its own")
        knob, value = (Knob(folder / "cgroup.freeze"), "1") if target.v2 else (Knob(folder / "freezer.state"), "FROZEN")
        self._turn(target, {knob: value})
        deadline_s = self._clock.monotonic_s() + _WITHIN_S
        while not self._is_frozen(folder, target.v2):
            if self._clock.monotonic_s() > deadline_s:
                return "freezing"
            time.sleep(_LOOK_AGAIN_S)
        return "frozen"

    def _is_frozen(self, folder: Path, v2: bool) -> bool:
        try:
            if v2:
                return "frozen 1" in self._kernel.read(folder / "cgroup.events").splitlines()
            return self._kernel.read(folder / "freezer.state").strip() == "FROZEN"
        except OSError as error:
            raise ActuatorError.of(error) from error
