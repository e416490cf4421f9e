from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serenity.qos.frame import Frame
from serenity.qos.stages import POSITIVE, Parameters, parameter


@dataclass(frozen=True)
class CpuGrantedParameters(Parameters):
    min_cpu: float = parameter(0.05, "cores", "below this much wanted CPU the ratio is noise, and left out", POSITIVE)


class CpuGranted:
    """Derives column ``cpu_granted``: the share of the CPU time a container wanted that it got, 0..1.

        cpu / (cpu + run_delay)

    Run delay grows with a container's own use; this ratio does not, and it is bounded, so
    that one relative threshold serves busy and idle containers.  NaN below `min_cpu`.
    """

    reads = frozenset({"cpu", "run_delay"})
    keeps_best_effort = True

    def __init__(self, parameters: CpuGrantedParameters) -> None:
        self._min_cpu = parameters.min_cpu

    def step(self, frame: Frame) -> Frame:
        cpu = frame.column("cpu")
        wanted = cpu + frame.column("run_delay")
        granted = np.full(len(frame), np.nan)
        np.divide(cpu, wanted, out=granted, where=wanted >= self._min_cpu)
        return frame.with_column("cpu_granted", granted)
