from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serenity.qos.frame import Floats, Frame
from serenity.qos.rows import Rows, moved
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
        self._rows = Rows()
        # Per column and row: y, and when it was last measured.
        self._mean = np.zeros((len(parameters.columns), 0))
        self._at = np.zeros((len(parameters.columns), 0))

    def step(self, frame: Frame) -> Frame:
        places = self._rows.moves(frame.ids)
        if places is not None:
            self._mean, self._at = moved(self._mean, places, np.nan), moved(self._at, places, np.nan)
        for i, name in enumerate(self._parameters.columns):
            frame = frame.with_column(name, self._smoothed(i, frame.t, frame.column(name)))
        return frame

    def _smoothed(self, i: int, t: float, x: Floats) -> Floats:
        measured, fresh = np.isfinite(x), np.isnan(self._mean[i])
        share = -np.expm1(-np.maximum(0.0, t - self._at[i]) / self._parameters.time_constant_s)
        mean = np.where(fresh, x, self._mean[i] + share * (x - self._mean[i]))
        self._mean[i], self._at[i] = np.where(measured, mean, self._mean[i]), np.where(measured, t, self._at[i])
        return np.where(measured, mean, np.nan)
