from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serenity.qos.frame import Floats, Frame
from serenity.qos.rows import Rows, moved
from serenity.qos.stages import POSITIVE, Parameters, Range, parameter

REGULAR, IRREGULAR = "regular", "irregular"


@dataclass(frozen=True)
class EmaParameters(Parameters):
    columns: tuple[str, ...] = parameter(("cpu",), "", "the columns to smooth", column=True)
    sampling: str = parameter(IRREGULAR, "", "irregular: by time_constant_s; regular: by alpha")
    time_constant_s: float = parameter(5.0, "s", "after which a step has come through to 63 %", POSITIVE)
    alpha: float = parameter(
        0.2, "share", "weight of each sample, however long after the last one it came", Range(above=0.0, at_most=1.0)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sampling not in (REGULAR, IRREGULAR):
            raise ValueError(f"sampling = {self.sampling!r}; write regular or irregular")


class Ema:
    """Exponential moving average of some columns.

        y += w * (x - y),   y = x at the first sample
        w = 1 - exp(-dt / time_constant_s)   where `sampling` is irregular;   w = alpha   where it is regular

    `dt` is the time since the row's last measured sample, so that a sample after a pause weighs
    more.  That is exact for columns that are means over `dt`, as rates are.  A missing sample
    stays missing, and leaves y as it was.

    Source: Serenity's EMA filter (2016), whose irregular form draws straight lines between the samples;
    Eckner, Algorithms for unevenly spaced time series, 2012, has both.
    """

    def __init__(self, parameters: EmaParameters) -> None:
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
        mean = np.where(fresh, x, self._mean[i] + self._weight(t - self._at[i]) * (x - self._mean[i]))
        self._mean[i], self._at[i] = np.where(measured, mean, self._mean[i]), np.where(measured, t, self._at[i])
        return np.where(measured, mean, np.nan)

    def _weight(self, passed_s: Floats) -> Floats | float:
        if self._parameters.sampling == REGULAR:
            return self._parameters.alpha
        weight: Floats = -np.expm1(-np.maximum(0.0, passed_s) / self._parameters.time_constant_s)
        return weight
