from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serenity.qos.frame import Frame
from serenity.qos.stages import parameter


@dataclass(frozen=True)
class UtilisationParameters:
    threshold: float = parameter(0.95, "share of the node", "above it the node counts as full")

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold = {self.threshold}; it is a share, above 0 and at most 1")


class Utilisation:
    """Lets a frame's production rows through only while the node's CPUs are nearly all in use.

    Passes them when sum(cpu) >= `threshold` x the node's cpus, and when either is not known.
    Serenity's utilisation threshold (2016): on a node with CPUs to spare nobody starves for one.
    For chains whose detectors look for CPU contention only.
    """

    def __init__(self, parameters: UtilisationParameters) -> None:
        self._threshold = parameters.threshold

    def step(self, frame: Frame) -> Frame:
        cpu = frame.column("cpu")
        spare = np.isfinite(cpu).any() and np.nansum(cpu) < self._threshold * frame.node.cpus
        return frame.select(~frame.production) if spare else frame
