from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from serenity.qos.frame import Frame
from serenity.qos.rows import Rows, moved
from serenity.qos.stages import Parameters, parameter


@dataclass(frozen=True)
class CumulativeParameters(Parameters):
    columns: tuple[str, ...] = parameter(
        ("cycles", "instructions", "llc_misses"), "", "the columns that are counters", column=True
    )


class Cumulative:
    """Turns cumulative counters into rates per second.

        rate = (value - last value) / (t - when that was measured)

    NaN at the first sample, after a reset (the counter has fallen) and where no time has passed.
    A missing sample stays missing; the next rate is over the whole gap.

    Source: Serenity's cumulative filter (2016).  The sources' columns are rates already: it is for traces of counters.
    """

    def __init__(self, parameters: CumulativeParameters) -> None:
        self._columns = parameters.columns
        self._rows = Rows()
        self._value = np.zeros((len(parameters.columns), 0))
        self._at = np.zeros((len(parameters.columns), 0))

    def step(self, frame: Frame) -> Frame:
        places = self._rows.moves(frame.ids)
        if places is not None:
            self._value, self._at = moved(self._value, places, math.nan), moved(self._at, places, math.nan)
        for i, name in enumerate(self._columns):
            value = frame.column(name)
            passed_s, grown = frame.t - self._at[i], value - self._value[i]
            rate = np.full(len(frame), np.nan)
            np.divide(grown, passed_s, out=rate, where=(passed_s > 0) & (grown >= 0))
            measured = np.isfinite(value)
            self._value[i], self._at[i] = np.where(
                measured, (value, np.full(len(frame), frame.t)), (self._value[i], self._at[i])
            )
            frame = frame.with_column(name, rate)
        return frame
