from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serenity.estimator.predictors.rowwise import MOST_USED, Rowwise
from serenity.qos.frame import Floats
from serenity.qos.stages import POSITIVE, SHARE, Parameters, parameter


@dataclass(frozen=True)
class LastParameters(Parameters):
    margin: float = parameter(0.0, "share of the allocation", "what is added", SHARE)
    stale_s: float = parameter(5.0, "s", "how old the last measurement may be", POSITIVE)


class Last(Rowwise):
    """What was used last: peak = use + margin * allocation.

    In cores and bytes, known from the first measurement on.  16 + 32 bytes a container.  It foresees no peak;
    for production whose use does not change, and as a baseline for other predictors.

    Source: the persistence forecast.
    """

    def __init__(self, parameters: LastParameters) -> None:
        super().__init__(1, 0.0, parameters.stale_s)
        self._margin = parameters.margin

    @property
    def most_learnt(self) -> Floats:
        return MOST_USED

    def learn(self, use: Floats, passed_s: Floats, allocated: Floats) -> None:
        self.learnt[0] = np.where(np.isnan(use), self.learnt[0], use)

    def peaks(self, allocated: Floats) -> Floats:
        peaks: Floats = self.learnt[0] + self._margin * allocated
        return peaks
