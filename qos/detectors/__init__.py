"""Detectors: ``Frame -> [Contention]``, by name.  They say which production containers suffer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from serenity.qos.contention import Contention
from serenity.qos.detectors.cpi_outlier import CpiOutlier, CpiOutlierParameters
from serenity.qos.detectors.drop import Drop, DropParameters
from serenity.qos.detectors.interference import Interference, InterferenceParameters
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
        """At most one contention a production row, said at every frame for as long as it holds."""

    def relearn(self, protected_id: str) -> None:
        """That container's contention was not best-effort's doing: what is now is its new baseline."""


@runtime_checkable
class ComparesJobs(Protocol):
    """A detector that compares a container with others of its job."""

    def know(self, jobs: Mapping[str, Cpi]) -> None:
        """What the cluster knows of jobs, by name, on this type of CPU."""


@runtime_checkable
class LooksAtPressure(Protocol):
    """A detector that looks at what best-effort presses on."""

    def share(self, pressure: Pressure) -> None:
        """Before the first step: that one, which has observed a frame before each step."""


DETECTORS: Mapping[str, Kind[Detector]] = {
    "cpi_outlier": Kind(CpiOutlier, CpiOutlierParameters),
    "drop": Kind(Drop, DropParameters),
    "interference": Kind(Interference, InterferenceParameters),
    "overload": Kind(Overload, OverloadParameters),
    "pressure": Kind(PressureDetector, PressureParameters),
    "slo": Kind(Slo, SloParameters),
}
