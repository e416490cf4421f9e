from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serenity.estimator.predictors.rowwise import MOST_USED, Rowwise
from serenity.qos.frame import Floats
from serenity.qos.stages import NOT_NEGATIVE, POSITIVE, SHARE, Parameters, parameter


@dataclass(frozen=True)
class EmaParameters(Parameters):
    time_constant_s: float = parameter(300.0, "s", "after which a step has come through to 63 %", POSITIVE)
    margin: float = parameter(0.1, "share of the allocation", "what is added", SHARE)
    min_age_s: float = parameter(300.0, "s", "how long a container must have been measured", NOT_NEGATIVE)
    stale_s: float = parameter(5.0, "s", "how old its last measurement may be", POSITIVE)


class Ema(Rowwise):
    """The exponential moving average of what was used, and a margin.

        y += (1 - exp(-dt / time_constant_s)) * (use - y),  y = use at first;  peak = y + margin * allocation

    In cores and bytes; `dt` is the time since the container was last measured, so that the sample after a pause weighs
    more.  NaN until a container was measured for `min_age_s`.  16 + 32 bytes a container.  An average is below the
    peaks: only the margin covers them.

    Source: Serenity's EMA (2015), before its slack formula; Eckner, Algorithms for unevenly spaced time series, 2012.
    """

    def __init__(self, parameters: EmaParameters) -> None:
        super().__init__(1, parameters.min_age_s, parameters.stale_s)
        self._parameters = parameters

    @property
    def most_learnt(self) -> Floats:
        return MOST_USED

    def learn(self, use: Floats, passed_s: Floats, allocated: Floats) -> None:
        (mean,) = self.learnt
        step = -np.expm1(-passed_s / self._parameters.time_constant_s) * (use - mean)
        self.learnt[0] = np.where(np.isnan(use), mean, np.where(np.isnan(mean), use, mean + step))

    def peaks(self, allocated: Floats) -> Floats:
        peaks: Floats = self.learnt[0] + self._parameters.margin * allocated
        return peaks
