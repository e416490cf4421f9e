"""Filters: ``Frame -> Frame``, by name.  They drop rows, smooth, and derive columns.

Filters that Serenity (2016) had keep their names: docs/qos.md says which differ, and which are not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from serenity.qos.filters.cpu_granted import CpuGranted, CpuGrantedParameters
from serenity.qos.filters.cumulative import Cumulative, CumulativeParameters
from serenity.qos.filters.derived import Derived
from serenity.qos.filters.ema import Ema, EmaParameters
from serenity.qos.filters.ignore_new_executors import IgnoreNewExecutors, IgnoreNewExecutorsParameters
from serenity.qos.filters.pr_executor_pass import PrExecutorPass
from serenity.qos.filters.too_low_usage import TooLowUsage, TooLowUsageParameters
from serenity.qos.filters.utilization_threshold import UtilizationThreshold, UtilizationThresholdParameters
from serenity.qos.filters.valve import Valve, ValveParameters
from serenity.qos.frame import Frame
from serenity.qos.stages import Kind, NoParameters


class Filter(Protocol):
    def step(self, frame: Frame) -> Frame:
        """The frame as the next stage sees it.  When a container goes, the filter's state of it goes too."""


@runtime_checkable
class KeepsBestEffort(Protocol):
    """A filter that says whether it drops no best-effort row and changes none of its columns."""

    keeps_best_effort: bool


FILTERS: Mapping[str, Kind[Filter]] = {
    "cpu_granted": Kind(CpuGranted, CpuGrantedParameters, adds=("cpu_granted",)),
    "cumulative": Kind(Cumulative, CumulativeParameters),
    "derived": Kind(Derived, NoParameters, adds=("cpi", "ipc", "mpki")),
    "ema": Kind(Ema, EmaParameters),
    "ignore_new_executors": Kind(IgnoreNewExecutors, IgnoreNewExecutorsParameters),
    "pr_executor_pass": Kind(PrExecutorPass, NoParameters, of_production=True),
    "too_low_usage": Kind(TooLowUsage, TooLowUsageParameters),
    "utilization_threshold": Kind(UtilizationThreshold, UtilizationThresholdParameters),
    "valve": Kind(Valve, ValveParameters),
}
