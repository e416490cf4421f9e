"""Which actuators an executor has, and which of them for what."""

from __future__ import annotations

from collections.abc import Mapping

from serenity.daemon.clock import Clock
from serenity.executor.corrections.actuators import Actuator
from serenity.executor.corrections.actuators.cache_ways import CacheWays
from serenity.executor.corrections.actuators.cpu_quota import CpuQuota
from serenity.executor.corrections.actuators.cpuset import Cpuset
from serenity.executor.corrections.actuators.duty_cycle import DutyCycle
from serenity.executor.corrections.actuators.freezer import Freezer
from serenity.executor.corrections.actuators.io_limit import IoLimit
from serenity.executor.corrections.actuators.memory_bandwidth import MemoryBandwidth
from serenity.executor.corrections.actuators.resctrl_class import ResctrlClass
from serenity.executor.corrections.actuators.stop_and_go import StopAndGo
from serenity.executor.corrections.actuators.stopped_tree import StoppedTree
from serenity.executor.corrections.originals import Originals
from serenity.executor.tasks import processes
from serenity.executor.tasks.guardian import CGROUP_PREFIX
from serenity.executor.tasks.trees import Trees


def actuators_by_cause(
    originals: Originals,
    container_id: str,
    trees: Trees,
    stop_and_go: StopAndGo,
    clock: Clock,
) -> Mapping[str, tuple[Actuator, ...]]:
    """As `Corrector` wants them.  Without a better one the CPU is limited: a task that runs less uses less of all."""

    def threads_of(task_id: str) -> list[int]:
        return [thread for each in trees.members(task_id) for thread in processes.threads(each.process.pid)]

    resctrl = ResctrlClass(originals, f"{CGROUP_PREFIX}{container_id}", threads_of)
    cpu = (CpuQuota(originals), Cpuset(originals), DutyCycle(stop_and_go))
    return {
        "cpu": cpu,
        "llc": (CacheWays(resctrl), *cpu),
        "memory_bandwidth": (MemoryBandwidth(resctrl), *cpu),
        "io": (IoLimit(originals), *cpu),
        "freeze": (Freezer(originals, clock), StoppedTree(stop_and_go)),
    }
