"""Predictors: what a container will use at most, from what it has used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from serenity.estimator.sliding import SlidingMax
from serenity.qos.frame import Floats, Frame
from serenity.qos.stages import Kind, parameter


@dataclass(frozen=True, slots=True)
class Prediction:
    """Peak use of each row of a frame; NaN: too new, or not measured of late."""

    cpus: Floats
    mem_bytes: Floats


@dataclass(frozen=True)
class PeakParameters:
    window_s: float = parameter(60.0, "s", "how long a past counts")
    margin: float = parameter(0.1, "share of the allocation", "what is added to the peak")
    min_age_s: float = parameter(5.0, "s", "how long a container must have been measured")
    stale_s: float = parameter(5.0, "s", "how old its last measurement may be")

    def __post_init__(self) -> None:
        if not (self.window_s > 0 and self.stale_s > 0 and self.min_age_s >= 0):
            raise ValueError("window_s and stale_s must be greater than 0, min_age_s at least 0")
        if not 0 <= self.margin <= 1:
            raise ValueError(f"margin = {self.margin}; it is a share, from 0 to 1")


class Peak:
    """The most that was used within `window_s`, and `margin` of the allocation on top.

    The margin is of the allocation, so that an idle container, whose use says least about
    its next burst, keeps some room too.  NaN until a container has been measured for
    `min_age_s`, and when its last measurement is older than `stale_s`.
    """

    def __init__(self, parameters: PeakParameters) -> None:
        self._parameters = parameters
        self._series: dict[str, dict[str, _Series]] = {"cpu": {}, "rss_bytes": {}}

    def step(self, frame: Frame) -> Prediction:
        return Prediction(
            cpus=self._peaks("cpu", frame) + self._parameters.margin * frame.allocated_cpus,
            mem_bytes=self._peaks("rss_bytes", frame) + self._parameters.margin * frame.allocated_mem_bytes,
        )

    def _peaks(self, column: str, frame: Frame) -> Floats:
        values = frame.column(column)
        before, now = self._series[column], {}
        peaks = np.full(len(frame), np.nan)
        for i, container in enumerate(frame.containers):
            series = now[container.id] = before.get(container.id) or _Series(self._parameters)
            peaks[i] = series.take(frame.t, float(values[i]))
        self._series[column] = now
        return peaks


class _Series:
    """One container's past in one column."""

    def __init__(self, parameters: PeakParameters) -> None:
        self._parameters = parameters
        self._max = SlidingMax(parameters.window_s)
        self._first_t: float | None = None
        self._last_t = -math.inf
        self._peak = math.nan

    def take(self, t: float, value: float) -> float:
        if math.isfinite(value):
            self._first_t = t if self._first_t is None else self._first_t
            self._last_t = t
            self._peak = self._max.add(t, value)
        known = self._first_t is not None and self._last_t - self._first_t >= self._parameters.min_age_s
        return self._peak if known and t - self._last_t <= self._parameters.stale_s else math.nan


PREDICTORS: Mapping[str, Kind[Peak]] = {"peak": Kind(Peak, PeakParameters)}
