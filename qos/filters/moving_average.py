from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from serenity.qos.frame import Floats, Frame
from serenity.qos.stages import parameter


@dataclass(frozen=True)
class MovingAverageParameters:
    columns: tuple[str, ...] = parameter(("cpu",), "", "the columns to smooth")
    time_constant_s: float = parameter(5.0, "s", "after which a step has come through to 63 %")

    def __post_init__(self) -> None:
        if not self.time_constant_s > 0:
            raise ValueError(f"time_constant_s = {self.time_constant_s}; it must be greater than 0")


class MovingAverage:
    """Exponential moving average of some columns, for samples at irregular times.

        y += (1 - exp(-dt / time_constant_s)) * (x - y),   y = x at the first sample

    `dt` is the time since the row's last measured sample, so a pause weighs the next sample
    the more.  A missing sample stays missing, and leaves y as it was.
    """

    def __init__(self, parameters: MovingAverageParameters) -> None:
        self._parameters = parameters
        # Per column and container: when it was last measured, and y.
        self._state: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in parameters.columns}

    def step(self, frame: Frame) -> Frame:
        for name in self._parameters.columns:
            frame = frame.with_column(name, self._smoothed(name, frame))
        return frame

    def _smoothed(self, name: str, frame: Frame) -> Floats:
        before = self._state[name]
        now: dict[str, tuple[float, float]] = {}
        values = frame.column(name).copy()
        for i, container in enumerate(frame.containers):
            last = before.get(container.id)
            if np.isfinite(values[i]):
                if last is not None:
                    share = -math.expm1(-max(0.0, frame.t - last[0]) / self._parameters.time_constant_s)
                    values[i] = last[1] + share * (values[i] - last[1])
                now[container.id] = (frame.t, float(values[i]))
            elif last is not None:
                now[container.id] = last
        self._state[name] = now
        return values
