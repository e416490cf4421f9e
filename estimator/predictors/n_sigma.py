from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serenity.estimator.predictors.arrays import pack, unpack
from serenity.estimator.predictors.prediction import Json, Peaks
from serenity.estimator.predictors.rowwise import CPUS, MEM, MOST_S, MOST_USED, Rowwise
from serenity.qos.frame import Floats
from serenity.qos.stages import NOT_NEGATIVE, POSITIVE, Parameters, parameter

_MEAN, _VARIANCE, _COUNT = range(3)


@dataclass(frozen=True)
class NSigmaParameters(Parameters):
    sigmas: float = parameter(5.0, "standard deviations", "what is added to the mean", NOT_NEGATIVE)
    time_constant_s: float = parameter(7200.0, "s", "how long a past counts", POSITIVE)
    min_age_s: float = parameter(1800.0, "s", "how long a container must have been measured", NOT_NEGATIVE)
    stale_s: float = parameter(5.0, "s", "how old its last measurement may be", POSITIVE)


class NSigma(Rowwise):
    """Mean and standard deviation: peak = mean + sigmas * sqrt(variance).

        w = max(1 - exp(-dt / time_constant_s), 1 / samples so far),  d = use - mean
        mean += w * d,  variance = (1 - w) * (variance + w * d * d)

    In cores and bytes.  All together: min(Σ mean + sigmas * sqrt(the same average of (Σ d)²), Σ peak).  The first term
    is the lower one where containers do not peak together, and stays right when containers come and go; but it still
    counts deviations of containers that have gone, and may then exceed the sum of the peaks.  NaN until a container was
    measured for `min_age_s`.  48 + 32 bytes a container.  Five sigmas guarantee no coverage: tails here are not
    Gaussian.

    Source: the N-sigma predictor of Bashir et al., Take it to the limit, EuroSys 2021, here with exponential weights
    in place of its window; West, Updating mean and variance estimates, 1979.
    """

    def __init__(self, parameters: NSigmaParameters) -> None:
        super().__init__(3, parameters.min_age_s, parameters.stale_s)
        self._parameters = parameters
        self._node = np.zeros((2, 2))  # Variance of the sum and samples so far, by resource.

    @property
    def most_learnt(self) -> Floats:
        return np.stack([MOST_USED, MOST_USED**2, np.full((2, 1), MOST_S)])

    def learn(self, use: Floats, passed_s: Floats, allocated: Floats) -> None:
        measured = np.isfinite(use)
        mean, variance, count = self.learnt
        fresh = measured & np.isnan(mean)
        mean[fresh], variance[fresh], count[fresh] = use[fresh], 0.0, 0.0
        count[measured] += 1.0
        weight = np.fmax(-np.expm1(-passed_s / self._parameters.time_constant_s), 1.0 / np.maximum(count, 1.0))
        off = np.where(measured, use - mean, 0.0)
        self._learn_together(off, passed_s)
        step = np.where(measured, weight * off, 0.0)
        self.learnt[_MEAN] = mean + step
        self.learnt[_VARIANCE] = np.where(measured, (1.0 - weight) * (variance + off * step), variance)

    def _learn_together(self, off: Floats, passed_s: Floats) -> None:
        since_s = np.nanmin(np.nan_to_num(passed_s, nan=np.inf), axis=1, initial=np.inf)
        variance, count = self._node
        learns = np.isfinite(since_s)
        count[learns] += 1.0
        weight = np.fmax(-np.expm1(-since_s / self._parameters.time_constant_s), 1.0 / np.maximum(count, 1.0))
        variance[learns] += (weight * (off.sum(axis=1) ** 2 - variance))[learns]

    def peaks(self, allocated: Floats) -> Floats:
        peaks: Floats = self.learnt[_MEAN] + self._parameters.sigmas * np.sqrt(self.learnt[_VARIANCE])
        return peaks

    def together(self, rows: Floats) -> tuple[Peaks, Peaks]:
        means = np.where(np.isnan(rows), 0.0, self.learnt[_MEAN]).sum(axis=1)
        sums = np.minimum(means + self._parameters.sigmas * np.sqrt(self._node[0]), np.nansum(rows, axis=1))
        return Peaks(rows[CPUS], float(sums[CPUS])), Peaks(rows[MEM], float(sums[MEM]))

    def state(self) -> Json:
        return {**super().state(), "node": pack(self._node)}

    def restore(self, state: Json) -> None:
        node = unpack(state.get("node"), self._node, 2, np.stack([MOST_USED[:, 0] ** 2, np.full(2, MOST_S)]))
        super().restore(state)
        self._node = node
