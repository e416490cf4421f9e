from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np

from serenity.estimator.predictors.prediction import Json, Peaks, Prediction
from serenity.estimator.predictors.rowwise import COLUMNS, MOST_S, MOST_USED
from serenity.estimator.predictors.sliding import SlidingMax
from serenity.qos.frame import Floats, Frame
from serenity.qos.stages import NOT_NEGATIVE, POSITIVE, SHARE, Parameters, parameter


@dataclass(frozen=True)
class PeakParameters(Parameters):
    window_s: float = parameter(60.0, "s", "how long a past counts", POSITIVE)
    margin: float = parameter(0.1, "share of the allocation", "what is added to the peak", SHARE)
    min_age_s: float = parameter(5.0, "s", "how long a container must have been measured", NOT_NEGATIVE)
    stale_s: float = parameter(5.0, "s", "how old its last measurement may be", POSITIVE)


class Peak:
    """The most that was used within `window_s`, and a margin: peak = max + margin * allocation.

    In cores and bytes.  The margin is a share of the allocation, so that an idle container, whose use says least
    about its next burst, keeps some room too.  NaN until a container was measured for `min_age_s`.  A kilobyte a
    container, and 100 bytes more for each sample within `window_s` while use only falls.

    Source: the rule of thumb.  For tests and short-lived nodes: there is slack within the first seconds.
    """

    def __init__(self, parameters: PeakParameters) -> None:
        self._parameters = parameters
        self._series: dict[str, dict[str, _Series]] = {name: {} for name in COLUMNS}

    def step(self, frame: Frame) -> Prediction:
        margin = self._parameters.margin
        return Prediction(
            Peaks.apart(self._peaks("cpu", frame) + margin * frame.allocated_cpus),
            Peaks.apart(self._peaks("rss_bytes", frame) + margin * frame.allocated_mem_bytes),
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

    def state(self) -> Json:
        return {name: {who: each.kept() for who, each in series.items()} for name, series in self._series.items()}

    def restore(self, state: Json) -> None:
        try:
            kept = msgspec.convert(state, dict[str, dict[str, _Kept]])
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from error
        if kept.keys() != self._series.keys():
            raise ValueError(f"it has not {' and '.join(COLUMNS)}")
        for name, most in zip(COLUMNS, MOST_USED[:, 0], strict=True):
            if not all(each.makes_sense(most) for each in kept[name].values()):
                raise ValueError(f"what it has of {name} makes no sense")
        self._series = {
            name: {who: _Series(self._parameters, each) for who, each in series.items()}
            for name, series in kept.items()
        }


class _Kept(msgspec.Struct, frozen=True):
    first_t: float | None = None
    last_t: float | None = None
    steps: tuple[tuple[float, float], ...] = ()

    def makes_sense(self, most: float) -> bool:
        """Whether it is empty, or its times rise and its values fall, as in `_Series`, from no more than `most`."""
        if self.first_t is None or self.last_t is None or not self.steps:
            return self == _Kept()
        times, values = zip(*self.steps, strict=True)
        return _rise((0.0, self.first_t, *times, self.last_t, MOST_S)) and _rise((0.0, *reversed(values), most))


def _rise(numbers: tuple[float, ...]) -> bool:
    return all(before <= after for before, after in pairwise(numbers))


class _Series:
    """One container's past in one column."""

    def __init__(self, parameters: PeakParameters, kept: _Kept = _Kept()) -> None:  # noqa: B008 - it is frozen
        self._parameters = parameters
        self._max = SlidingMax(parameters.window_s, kept.steps)
        self._first_t = kept.first_t
        self._last_t = -math.inf if kept.last_t is None else kept.last_t
        self._peak = kept.steps[0][1] if kept.steps else math.nan

    def kept(self) -> Json:
        if self._first_t is None:
            return {}
        return {"first_t": self._first_t, "last_t": self._last_t, "steps": self._max.steps}

    def take(self, t: float, value: float) -> float:
        if math.isfinite(value):
            self._first_t = t if self._first_t is None else self._first_t
            self._last_t = t
            self._peak = self._max.add(t, value)
        known = self._first_t is not None and self._last_t - self._first_t >= self._parameters.min_age_s
        return self._peak if known and t - self._last_t <= self._parameters.stale_s else math.nan
