from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from serenity.estimator.predictors.arrays import pack, unpack
from serenity.estimator.predictors.diurnal import Diurnal
from serenity.estimator.predictors.prediction import Json, Peaks, Prediction
from serenity.estimator.predictors.promises import A_HORIZON, Promises, Rise
from serenity.estimator.predictors.rowwise import CPUS, MEM, MOST_S, MOST_USED, Rowwise
from serenity.qos.frame import Bools, Floats, Frame
from serenity.qos.rows import Places
from serenity.qos.stages import NOT_NEGATIVE, POSITIVE, Parameters, Range, parameter

# Tilts of the bound, per capacity of the node.  A tilt is best for margins of some ln(1 / risk) / tilt, so that these
# serve margins from all of the node down to a 300th of it.  Steps of 1.6 cost 2.7 % of a margin at most.
_TILTS = 2.0 ** np.linspace(2.0, 10.0, 13)[:, None, None]
# Exponents are cut off here, because exp() of greater ones overflows.
_MOST = 600.0
_LEVEL, _AGE_S, _MOMENTS = range(3)
# Bound of the logarithms kept for the node; tilts times use stay below it even if the unit is a fraction of the node.
_MOST_RISE = 1e9
# A sample stands for this share of the horizon at most, however long the pause before it was.
_A_SAMPLE = 1 / 6
# A miss by more than this share of the node is grave, and must be rarer by this factor.
_TRIFLE, _RARER = 0.01, 5.0


@dataclass(frozen=True)
class AheadParameters(Parameters):
    horizon_s: float = parameter(1800.0, "s", "how far ahead a prediction holds", Range(at_least=1.0))
    memory_s: float = parameter(14400.0, "s", "after which what was measured counts for 1/e", POSITIVE)
    risk: float = parameter(
        0.005, "share of moments", "how often production may use more than predicted", Range(at_least=1e-6, below=0.5)
    )
    min_age_s: float = parameter(300.0, "s", "how long a container must have been measured", NOT_NEGATIVE)
    stale_s: float = parameter(5.0, "s", "how old its last measurement may be", POSITIVE)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.memory_s < self.horizon_s:
            raise ValueError(f"memory_s = {self.memory_s}; it must be at least horizon_s = {self.horizon_s}")


class Ahead(Rowwise):
    """The peak of all containers together within `horizon_s`: a level, and Chernoff bounds on what exceeds it.

        peak   = Σ level + rise + bound(max(z² / 2, tail · ln(1 / risk)))
        bound(exponent) = min over s of ( K(s) + exponent + care ) / s
        K(s)   = max( Σ (1 - w) ln E exp(s (x - level)), (1 - w) ln E exp(s Σ (x - level)) )
                 + Σ w ( ln (1 + level / a (exp(s a) - 1)) - s level )
        tail   = √( E I² / 2 )
        I      = max over s of ( s (peak of the sum within a horizon - its level) - K(s) )

    `x` is a container's use, `level` its exponential average over `horizon_s`, and `E` an exponential average over
    `memory_s`; while a container is younger both are plain averages.  K's first term is what was seen: of the
    containers, as if independent, or of their sum, which shows common drifts and peaks; the greater counts.  The second
    term is the worst case of a container with this level and this allocation a (it uses nothing or all of a, Hoeffding
    1963).  It counts as much as one horizon, w = 1 / (1 + horizons remembered), so that a new container is bounded by
    its level alone, and an old one by what it does.  `rise` is what the days before say of the next slot of the day, as
    long as the horizon (diurnal.py).  `s` runs over 13 tilts.

    The exponent says how rare a miss must be.  z is the standard normal's quantile of 1 - `risk`: with the exponent
    z² / 2 Chernoff's bound on a normal sum lies z standard deviations above its level, as it should.  `tail` says how
    far the sum did go in terms of K, by which a rise has the probability e^-I: where I is exponential, E I² is 2 tail².
    It begins at 1, which is Chernoff's bound unchanged, as if that had been seen for a horizon.  It grows where the
    future is not like the past, and because a horizon has many moments; K's second term offsets part of that.  The K in
    I is that at the end of the horizon, or, where containers came or went, the greatest in it.

    There are two bounds, of which the greater counts: one for the risk of using more than predicted, and one for a
    fifth of that risk of using a hundredth of the node more than predicted.  `care`, kept for the node, rises by 1 (e
    times rarer) for each horizon in which the predictions did not hold, and falls by `risk` for every horizon: in the
    long run no more than that share of predictions fails (adaptive conformal inference), whatever the containers do.

    In cores and bytes.  NaN until measured for `min_age_s`.  240 + 32 bytes a container and 384 for its profile of the
    day, whatever its age; 1.3 KB with all derived values.

    Source: Chernoff 1952; Hoeffding, Probability inequalities for sums of bounded random variables, 1963; Gibbs and
    Candès, Adaptive conformal inference under distribution shift, 2021.
    """

    def __init__(self, parameters: AheadParameters) -> None:
        super().__init__(_MOMENTS + len(_TILTS), parameters.min_age_s, parameters.stale_s)
        self._parameters = parameters
        self._measure_by(np.full(2, np.nan))
        self._trifle = np.zeros(2)
        self._t = math.nan
        self._horizons = np.zeros(2)  # How many followed predictions have ended.
        self._squared = np.full(2, 2.0)  # E I².
        # Parts of K: what was seen of the sum, and for how long; of each container, what was seen and the worst case.
        self._together, self._together_s = np.zeros((len(_TILTS), 2)), np.zeros(2)
        self._seen_of_each = self._worst = np.zeros((len(_TILTS), 2, 0))
        self._off, self._passed_s = np.zeros((2, 0)), np.zeros(2)  # Last sample less level; seconds that it stands for.
        self._now = self._most = np.zeros((2, 0))  # What each container uses, and the most that it could.
        self._promises = Promises(parameters.horizon_s, parameters.risk)
        # The risks of a miss, and of a grave miss.
        risks = np.array([parameters.risk, parameters.risk / _RARER])
        self._chernoff = -np.log(risks)
        self._normal = np.array([NormalDist().inv_cdf(1.0 - risk) ** 2 / 2.0 for risk in risks])
        self._diurnal = Diurnal(parameters.horizon_s)

    def _measure_by(self, unit: Floats) -> None:
        """Sets the tilts' unit: the node's capacities, or what was allocated where those were not known at first."""
        self._unit = unit
        self._scale = np.where(np.isnan(unit), 1.0, unit)[:, None]

    def step(self, frame: Frame) -> Prediction:
        self._t = frame.t
        capacity = np.array([frame.node.cpus, frame.node.mem_bytes])
        self._trifle = np.where(capacity > 0, _TRIFLE * capacity, 0.0)
        if np.isnan(self._unit).any():
            allocated = np.array([frame.allocated_cpus.sum(), frame.allocated_mem_bytes.sum()])
            found = np.where(capacity > 0, capacity, allocated)
            self._measure_by(np.where(np.isnan(self._unit) & (found > 0), found, self._unit))
        return super().step(frame)

    def move(self, places: Places) -> None:
        self._diurnal.move(places)

    @property
    def most_learnt(self) -> Floats:
        age_s, moments = np.full((1, 2, 1), MOST_S), np.full((len(_TILTS), 2, 1), math.exp(_MOST + 1.0))
        return np.concatenate([MOST_USED[None], age_s, moments])

    def learn(self, use: Floats, passed_s: Floats, allocated: Floats) -> None:
        measured = np.isfinite(use)
        fresh = measured & np.isnan(self.learnt[_LEVEL])
        self.learnt[:, fresh] = 0.0
        passed_s = np.minimum(passed_s, _A_SAMPLE * self._parameters.horizon_s)
        age_s = self.learnt[_AGE_S]
        age_s += np.where(measured & ~fresh, passed_s, 0.0)
        off = self._off = np.where(measured & ~fresh, use - self.learnt[_LEVEL], 0.0)
        self._passed_s = np.where(measured & ~fresh, passed_s, 0.0).max(axis=1, initial=0.0)
        use = np.where(measured, use, 0.0)
        self._diurnal.learn(self._t, use, measured)
        weight = _weight(passed_s, age_s, self._parameters.horizon_s, measured, fresh)
        self.learnt[_LEVEL] += weight * (use - self.learnt[_LEVEL])
        weight = _weight(passed_s, age_s, self._parameters.memory_s, measured, fresh)
        # Not moments += weight * (new - moments): the sizes differ so much that rounding would leave nothing.
        moments = self.learnt[_MOMENTS:]
        moments *= 1.0 - weight
        moments += weight * np.exp(np.minimum(_TILTS * (off / self._scale), _MOST))
        self._now = np.where(measured, use, self.learnt[_LEVEL])

    def _learn_together(self, known: Bools) -> None:
        """A known container that was not measured is taken to be at its level."""
        passed_s = np.where(known.any(axis=1), self._passed_s, 0.0)
        self._together_s += passed_s
        first = np.zeros(2, dtype=np.bool_)
        weight = _weight(passed_s, self._together_s, self._parameters.memory_s, passed_s > 0, first)
        reached = _TILTS[:, :, 0] * (np.where(known, self._off, 0.0).sum(axis=1) / self._scale[:, 0])
        with np.errstate(divide="ignore"):  # log(0): the first sample has all of the weight.
            self._together = np.logaddexp(np.log(1.0 - weight) + self._together, np.log(weight) + reached)

    def _learn_tail(self, rises: list[Rise]) -> None:
        """Learns from each followed prediction whose horizon has ended, if any container was known in it."""
        newest = -math.expm1(-self._parameters.horizon_s / A_HORIZON / self._parameters.memory_s)
        for rise in rises:
            self._horizons += rise.of_somebody
            reached = _TILTS[:, :, 0] * (rise.above / self._scale[:, 0])
            rare = np.maximum(0.0, (reached - rise.moments).max(axis=0))
            weight = rise.of_somebody * np.maximum(newest, 1.0 / (A_HORIZON + self._horizons))
            self._squared += weight * (rare**2 - self._squared)

    def peaks(self, allocated: Floats) -> Floats:
        level = self.learnt[_LEVEL]
        most = self._most = np.maximum(allocated, np.fmax(self._now, level))
        worst = self._of_the_worst(self.learnt[_AGE_S])
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(most > 0, level / most, 0.0)
        reach = _TILTS * (most / self._scale)
        # ln(1 + p (exp(r) - 1)) - p r, without an exp() that overflows.
        could = (1.0 - share) * reach + np.log(share + (1.0 - share) * np.exp(-reach) + 1e-300)
        self._seen_of_each = (1.0 - worst) * np.log(self.learnt[_MOMENTS:])
        self._worst = worst * np.maximum(could, 0.0)
        self._worst[reach > _MOST] = np.inf  # These tilts' moments were cut off.
        rows = self._scale * ((self._seen_of_each + self._worst + self._chernoff[0]) / _TILTS).min(axis=0)
        peaks: Floats = np.clip(rows + level, self._now, most)
        return peaks

    def together(self, rows: Floats) -> tuple[Peaks, Peaks]:
        known = np.isfinite(rows)
        level = np.where(known, self.learnt[_LEVEL], 0.0).sum(axis=1)
        now = np.where(known, self._now, 0.0).sum(axis=1)
        unit = self._scale[:, 0]
        self._learn_together(known)
        of_sum = (1.0 - self._of_the_worst(self._together_s)) * self._together
        seen = np.maximum(np.where(known, self._seen_of_each, 0.0).sum(axis=2), of_sum)
        moments = seen + np.where(known, self._worst, 0.0).sum(axis=2)
        levels = np.where(known, self.learnt[_LEVEL], 0.0)
        self._learn_tail(self._promises.see(self._t, self._rows.ids, known, levels, now, moments))
        tail = np.sqrt(self._squared / 2.0)
        above = self._above(moments, np.maximum(self._normal, tail[:, None] * self._chernoff))
        bound = level + unit * above + self._diurnal.rise(known)
        bound = np.clip(bound, now, np.where(known, self._most, 0.0).sum(axis=1))
        self._promises.make(self._t, level, bound, np.asarray(known.any(axis=1)))
        return Peaks(rows[CPUS], float(bound[CPUS])), Peaks(rows[MEM], float(bound[MEM]))

    def _of_the_worst(self, age_s: Floats) -> Floats:
        """w: the weight of the worst case, beside what was seen for `age_s`."""
        remembered = np.minimum(age_s, 2.0 * self._parameters.memory_s) / self._parameters.horizon_s
        return 1.0 / (1.0 + remembered)

    def _above(self, moments: Floats, exponents: Floats) -> Floats:
        """The bound above the level, in units.  `moments`: logarithms, (tilts, 2); `exponents`: shape (2, risks)."""
        needed = moments[:, :, None] + (exponents + self._promises.care[:, None])
        missed, grave = (needed / _TILTS).min(axis=0).T
        above: Floats = np.maximum(missed, grave - self._trifle / self._scale[:, 0])
        return above

    def state(self) -> Json:
        node = {
            "diurnal": self._diurnal.state(),
            "unit": pack(self._unit),
            "together": pack(self._together),
            "together_s": pack(self._together_s),
            "squared": pack(self._squared),
            "care": pack(self._promises.care),
            "horizons": pack(self._horizons),
        }
        return {**super().state(), **node}

    def restore(self, state: Json) -> None:
        unit = unpack(state.get("unit"), self._unit, 2, MOST_USED[:, 0], np.nextafter(0.0, 1.0), may_lack=True)
        together = unpack(state.get("together"), self._together, 2, _MOST_RISE, -_MOST_RISE)
        together_s = unpack(state.get("together_s"), self._together_s, 2, MOST_S)
        ids, diurnal = state.get("ids"), state.get("diurnal")
        if not isinstance(ids, list) or not isinstance(diurnal, dict):
            raise ValueError("it does not say whose state it is")
        profile = self._diurnal.restored(diurnal, len(ids))
        squared = unpack(state.get("squared"), self._squared, 2, _MOST_RISE**2)
        horizons = unpack(state.get("horizons"), self._horizons, 2, MOST_S)
        care = unpack(state.get("care"), self._promises.care, 2, MOST_S)  # It rises by 1 a horizon at most.
        super().restore(state)
        self._diurnal.restore(profile)
        self._measure_by(unit)
        self._together, self._together_s = together, together_s
        self._squared, self._promises.care, self._horizons = squared, care, horizons


def _weight(passed_s: Floats, age_s: Floats, memory_s: float, measured: Bools, fresh: Bools) -> Floats:
    """The newest sample's weight in an exponential average over `memory_s`, or in a plain one over time until then."""
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = np.fmax(-np.expm1(-passed_s / memory_s), passed_s / age_s)
    return np.where(fresh, 1.0, np.where(measured & (age_s > 0), weight, 0.0))
