"""Throttles how fast tasks get at memory (Intel MBA, AMD's bandwidth enforcement).

Intel's limit is a share of what a core could get, in percent, and it slows the core's
hyperthread sibling as well.  AMD's is a rate, in eighths of a GB/s, for each L3 cache; and so
is Intel's in MB/s where resctrl is mounted with ``mba_MBps``.
"""

from __future__ import annotations

import math
from pathlib import Path

from serenity.executor.corrections.actuators import Allowance, Resource, Target
from serenity.executor.corrections.actuators.class_limit import ClassLimit
from serenity.executor.corrections.actuators.resctrl_class import ResctrlClass
from serenity.executor.corrections.kernel_files import Knob

_AMD_UNIT_BYTES_S = 1e9 / 8
_MBPS_UNIT_BYTES_S = float(2**20)


class MemoryBandwidth(ClassLimit):
    """In percent the class has what its most throttled task is left; as a rate, what all of them are left together."""

    name = "memory bandwidth"
    of: Resource = "memory_bandwidth"
    stops_processes = False
    resources = ("MB",)

    def __init__(self, resctrl: ResctrlClass, proc: Path = Path("/proc")) -> None:
        super().__init__(resctrl)
        self._proc = proc
        self._used_bytes_s: dict[str, float] = {}  # By task, in each cache; before it was throttled.

    def available(self, target: Target) -> str | None:
        lacks = super().available(target)
        if lacks is not None or self._unit_bytes_s() is None or target.task_id in self._used_bytes_s:
            return lacks
        if math.isnan(target.measured.get("mem_bw", math.nan)):
            return "the limit is a rate here, and what the task uses was not measured"
        return None

    def apply(self, target: Target, allowance: Allowance) -> str:
        # A task can be in no more caches at once than it uses cores.
        caches = max(1, min(len(self._resctrl.knobs(self.resources)), math.ceil(allowance.use_cores)))
        self._used_bytes_s.setdefault(target.task_id, target.measured.get("mem_bw", math.nan) / caches)
        return super().apply(target, allowance)

    def undo(self, target: Target) -> None:
        self._used_bytes_s.pop(target.task_id, None)
        super().undo(target)

    def _values(self) -> tuple[dict[Knob, str], str]:
        unit_bytes_s = self._unit_bytes_s()
        least = self._resctrl.number("MB", "min_bandwidth")
        step = max(1, self._resctrl.number("MB", "bandwidth_gran"))
        if unit_bytes_s is None:
            wanted = min(self._shares.values()) * 100
        else:
            wanted = sum(share * self._used_bytes_s[task] for task, share in self._shares.items()) / unit_bytes_s
        value = max(1, math.ceil(least / step) * step, math.floor(wanted / step) * step)
        knobs = self._resctrl.knobs(self.resources)
        value = min([value, *(self._resctrl.default(knob) for knob in knobs)])
        said = f"{value} %" if unit_bytes_s is None else f"{value * unit_bytes_s / 1e9:.2f} GB/s"
        return dict.fromkeys(knobs, str(value)), said

    def _unit_bytes_s(self) -> float | None:
        """None: the limit is in percent."""
        mounts = [line.split(b" ") for line in (self._proc / "self/mounts").read_bytes().split(b"\n") if line]
        if any(kind == b"resctrl" and b"mba_MBps" in options.split(b",") for _, _, kind, options, *_ in mounts):
            return _MBPS_UNIT_BYTES_S
        cpu = (self._proc / "cpuinfo").read_text()
        return _AMD_UNIT_BYTES_S if "AuthenticAMD" in cpu or "HygonGenuine" in cpu else None
