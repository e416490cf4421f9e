"""Filters: ``Frame -> Frame``, by name.  They drop rows, smooth, and derive columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from serenity.qos.filters.cpu_granted import CpuGranted, CpuGrantedParameters
from serenity.qos.filters.derived import Derived
from serenity.qos.filters.ignore_new import IgnoreNew, IgnoreNewParameters
from serenity.qos.filters.min_cpu import MinCpu, MinCpuParameters
from serenity.qos.filters.moving_average import MovingAverage, MovingAverageParameters
from serenity.qos.filters.production_only import ProductionOnly
from serenity.qos.filters.rates import Rates, RatesParameters
from serenity.qos.filters.utilisation import Utilisation, UtilisationParameters
from serenity.qos.filters.valve import Valve, ValveParameters
from serenity.qos.frame import Frame
from serenity.qos.stages import Kind, NoParameters


class Filter(Protocol):
    def step(self, frame: Frame) -> Frame:
        """The frame as the next stage sees it.  What it remembers of a container dies with the container."""


FILTERS: Mapping[str, Kind[Filter]] = {
    "cpu_granted": Kind(CpuGranted, CpuGrantedParameters),
    "derived": Kind(Derived, NoParameters),
    "ignore_new": Kind(IgnoreNew, IgnoreNewParameters),
    "min_cpu": Kind(MinCpu, MinCpuParameters),
    "moving_average": Kind(MovingAverage, MovingAverageParameters),
    "production_only": Kind(ProductionOnly, NoParameters),
    "rates": Kind(Rates, RatesParameters),
    "utilisation": Kind(Utilisation, UtilisationParameters),
    "valve": Kind(Valve, ValveParameters),
}
