"""Detectors: ``Frame -> [Contention]``, by name.  They say which production containers suffer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from serenity.qos.contention import Contention
from serenity.qos.detectors.cpi_outlier import CpiOutlier, CpiOutlierParameters
from serenity.qos.detectors.drop import Drop, DropParameters
from serenity.qos.detectors.interference.detector import Interference, InterferenceParameters
from serenity.qos.detectors.threshold import (
    Overload,
    OverloadParameters,
    PressureDetector,
    PressureParameters,
    Slo,
    SloParameters,
)
from serenity.qos.evidence.pressure import Pressure
from serenity.qos.frame import Frame
from serenity.qos.stages import Kind
from serenity.wire.messages.statistics import Cpi


class Detector(Protocol):
    def step(self, frame: Frame) -> list[Contention]:
        """At most one contention for each production row, reported at every frame for as long as it holds."""

    def relearn(self, protected_id: str) -> None:
        """Best-effort did not cause that container's contention: its present state is its new baseline."""


@runtime_checkable
class ComparesJobs(Protocol):
    """A detector that compares a container with the other containers of its job."""

    def know(self, jobs: Mapping[str, Cpi]) -> None:
        """Takes the cluster-wide CPI of jobs, by name, on this type of CPU."""


@runtime_checkable
class LooksAtPressure(Protocol):
    """A detector that uses the pressure of best-effort tasks on resources."""

    def share(self, pressure: Pressure) -> None:
        """To be called before the first step.  From then on `pressure` observes each frame before `step` gets it."""


DETECTORS: Mapping[str, Kind[Detector]] = {
    "cpi_outlier": Kind(CpiOutlier, CpiOutlierParameters),
    "drop": Kind(Drop, DropParameters),
    "interference": Kind(Interference, InterferenceParameters),
    "overload": Kind(Overload, OverloadParameters),
    "pressure": Kind(PressureDetector, PressureParameters),
    "slo": Kind(Slo, SloParameters),
}
