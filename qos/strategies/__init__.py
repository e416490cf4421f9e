"""Strategies: ``(Contention, Frame) -> [Suspect]``, by name.  They rank the tasks that may be the cause."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from serenity.qos.contention import Contention, Suspect
from serenity.qos.evidence.pressure import Pressure
from serenity.qos.frame import Frame
from serenity.qos.stages import Kind, NoParameters
from serenity.qos.strategies.by_use import (
    Bandwidth,
    CacheOccupancy,
    Correlation,
    CorrelationParameters,
    Seniority,
    ShareParameters,
)
from serenity.qos.strategies.combined import Combined, CombinedParameters
from serenity.qos.strategies.cpu_share import CpuShare, CpuShareParameters


class Strategy(Protocol):
    name: str

    def observe(self, frame: Frame) -> None:
        """Called with every frame, unfiltered, before any `rank` on it: keeps what a ranking needs of the past."""

    def rank(self, contention: Contention, frame: Frame) -> list[Suspect]:
        """Best-effort rows only, most suspicious first.  Empty when none can be the cause."""

    def absolve(self, protected_id: str) -> None:
        """Best-effort, as it turned out, was not the cause of that container's contention."""


@runtime_checkable
class RanksByPressure(Protocol):
    """A strategy that uses the pressure of best-effort tasks, and shares it with detectors that use it, too."""

    pressure: Pressure


STRATEGIES: Mapping[str, Kind[Strategy]] = {
    "bandwidth": Kind(Bandwidth, ShareParameters),
    "cache_occupancy": Kind(CacheOccupancy, ShareParameters),
    "combined": Kind(Combined, CombinedParameters),
    "correlation": Kind(Correlation, CorrelationParameters),
    "cpu_share": Kind(CpuShare, CpuShareParameters),
    "seniority": Kind(Seniority, NoParameters),
}
