from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serenity.qos.frame import Frame
from serenity.qos.stages import NOT_NEGATIVE, Parameters, parameter

_COUNTERS = ("cycles", "instructions", "llc_misses", "stalls")


@dataclass(frozen=True)
class TooLowUsageParameters(Parameters):
    min_cpu: float = parameter(0.25, "cores", "below this use hardware counters are left out", NOT_NEGATIVE)


class TooLowUsage:
    """Leaves out the hardware counters of rows that use less than `min_cpu` cores.

    NaN where cpu < `min_cpu`.  Few events make a ratio such as CPI noise; the other columns stay.

    Source: Serenity's too low usage filter (2016), which drops the row.
    """

    def __init__(self, parameters: TooLowUsageParameters) -> None:
        self._min_cpu = parameters.min_cpu

    def step(self, frame: Frame) -> Frame:
        few = frame.column("cpu") < self._min_cpu
        for name in _COUNTERS:
            if name in frame.columns:
                frame = frame.with_column(name, np.where(few, np.nan, frame.column(name)))
        return frame
