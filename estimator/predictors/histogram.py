from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from serenity.estimator.predictors.rowwise import MOST_S, Rowwise
from serenity.qos.frame import Floats
from serenity.qos.stages import NOT_NEGATIVE, POSITIVE, SHARE, Parameters, Range, parameter

# Upper ends of the buckets, as shares of the allocation: from a thousandth to 8.5 times, each a tenth above the last.
_ENDS = 1e-3 * 1.1 ** np.arange(96)
_LOG_STEP, _LOG_FIRST = math.log(1.1), math.log(1e-3)


@dataclass(frozen=True)
class HistogramParameters(Parameters):
    percentile: float = parameter(98.0, "%", "of the time that a peak is to cover", Range(above=0.0, at_most=100.0))
    cpu_half_life_s: float = parameter(43200.0, "s", "after which a sample of cpus counts half", POSITIVE)
    mem_half_life_s: float = parameter(172800.0, "s", "after which a sample of memory counts half", POSITIVE)
    margin: float = parameter(0.05, "share of the allocation", "what is added", SHARE)
    min_age_s: float = parameter(1800.0, "s", "how long a container must have been measured", NOT_NEGATIVE)
    stale_s: float = parameter(5.0, "s", "how old its last measurement may be", POSITIVE)


class Histogram(Rowwise):
    """A percentile of what was used, old samples counting less, and no less than what is used now.

        weight of each bucket *= 2 ** (-dt / half life);  weight of the sample's bucket += 1
        peak = max(upper end of the first bucket up to which `percentile` of all weight lies + margin * allocation, use)

    In cores and bytes.  96 buckets by shares of the allocation, each a tenth above the last, so that a percentile is at
    most a tenth too high.  The first bucket takes all use up to a thousandth of the allocation, the last all beyond 7.7
    times the allocation; a percentile beyond the last bucket's end, 8.5 times, is reported too low.  Nothing is learnt
    without an allocation.  NaN until measured for `min_age_s`.  768 + 32 bytes a container.

    Source: moving-window recommenders of Rzadca et al., Autopilot, EuroSys 2020 (half-lives of 12 and 48 hours).
    """

    def __init__(self, parameters: HistogramParameters) -> None:
        super().__init__(len(_ENDS), parameters.min_age_s, parameters.stale_s)
        self.learnt = self.learnt.astype(np.float32)
        self._parameters = parameters
        self._now = np.full((2, 0), np.nan)  # What each container uses now; NaN: not measured.
        self._half_lives_s = np.array([[parameters.cpu_half_life_s], [parameters.mem_half_life_s]])

    @property
    def most_learnt(self) -> Floats:
        return np.full((1, 1, 1), MOST_S)  # Each sample adds 1, and stands for a moment at least.

    def learn(self, use: Floats, passed_s: Floats, allocated: Floats) -> None:
        self.learnt[:, np.isnan(self.learnt[0])] = 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.log(np.maximum(use, 0.0) / allocated)
        counted = np.isfinite(use) & (allocated > 0)
        self.learnt *= np.where(counted & (passed_s > 0), np.exp2(-passed_s / self._half_lives_s), 1.0).astype(
            np.float32
        )
        bucket = np.clip(np.ceil((share[counted] - _LOG_FIRST) / _LOG_STEP - 1e-9), 0, len(_ENDS) - 1).astype(np.intp)
        resource, container = np.nonzero(counted)
        self.learnt[bucket, resource, container] += 1.0
        self._now = use

    def peaks(self, allocated: Floats) -> Floats:
        below = np.cumsum(self.learnt, axis=0)
        reached = below >= np.float32(self._parameters.percentile / 100.0 * (1.0 - 1e-6)) * below[-1:]
        peaks: Floats = (_ENDS[np.argmax(reached, axis=0)] + self._parameters.margin) * allocated
        return np.where(below[-1] > 0, np.fmax(peaks, self._now), np.nan)
