from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serenity.qos.frame import Frame
from serenity.qos.stages import Parameters, Range, parameter


@dataclass(frozen=True)
class UtilizationThresholdParameters(Parameters):
    threshold: float = parameter(
        0.95, "share of the node", "from this use of its CPUs on the node counts as full", Range(above=0.0, at_most=1.0)
    )


class UtilizationThreshold:
    """Stops the chain while the node is full: all rows are dropped.

    The node is full while sum(cpu) >= `threshold` x the node's cpus.  A row that was not measured counts at its
    allocation; if the node's cpus are not known all rows pass.  Later stages forget the dropped containers.  In
    ``[slack]`` it would also take away what best-effort holds already: ``limits`` does not.

    Source: Serenity's utilization threshold filter (2016).
    """

    def __init__(self, parameters: UtilizationThresholdParameters) -> None:
        self._threshold = parameters.threshold

    def step(self, frame: Frame) -> Frame:
        cpu = frame.column("cpu")
        used = float(np.where(np.isnan(cpu), frame.allocated_cpus, cpu).sum())
        return frame.select(frame.production & False) if used >= self._threshold * frame.node.cpus else frame
