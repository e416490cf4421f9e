"""Which containers begin to suffer: a cheap screening, and a judgement of what passes it."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from serenity.qos.detectors.interference.episode import Episode
from serenity.qos.detectors.interference.histories import OLDEST_S, Histories
from serenity.qos.detectors.interference.relapses import Relapses
from serenity.qos.evidence import mechanisms
from serenity.qos.evidence.mechanisms import MECHANISMS, SIGNALS_OF
from serenity.qos.evidence.odds import COMPANIONS, Beforehand, odds
from serenity.qos.evidence.pressure import RESOURCES, Coincidence, Pressure
from serenity.qos.evidence.shifts import Ints, Shifts
from serenity.qos.frame import Bools, Container, Floats
from serenity.qos.rows import moved

# How many samples ago the change may have begun: in finer steps where recent, an eighth to a quarter of the age.
AGES = np.array([1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40, 48, 60])
NOW = 3  # The first of these ages: changes that began with one of the newest samples.
_HICCUP_S = 1.5  # One sample of a second proves nothing: the mean of two must be enough still.
_BESIDE = 3  # Samples by which noise shifts the apparent onset, as often as not: hence the half in `_about`.
# Age at which a change that is no interference becomes the new normal; in samples too, so that it was judged often
# enough.  A slow rise of best-effort is found only over half a minute: that must have been seen whole by then.
_DISMISS_S, _DISMISS_SAMPLES = 40.0, 8
# A task with less than a tenth of a cache can displace at most a tenth of the others' data in it, and a task with less
# than a tenth of the bandwidth lengthens queues by about as much.  Below that, the less a task has, the less likely is
# harm by it.
_CAN_HURT = 0.1
_USES = 1e-4  # Share of a capacity above which it counts as used.
# The screening's bound is weaker than the analysis it stands for: this share of the limit is enough to pass it.
_SCREEN = 0.8
_LATELY = 64  # Frames for which a rise of best-effort helps rows through the screening.
_COINCIDENCE_S = 3600.0  # Over which the usual rises are learnt: jobs come and go within hours.
_RESOURCE_OF = np.array([each.resource for each in MECHANISMS])
_BY_CAPACITY = np.array([each.by_capacity for each in MECHANISMS])


@dataclass(frozen=True, slots=True, eq=False)
class Onset:
    """A contention begins.  Ages are in samples; `level`, `delta` and `variance` are of each signal, in logs."""

    container: Container
    at: float
    began: int  # The age of the rise of best-effort that it coincides with,
    age: int  # and of the shift, which may show some samples before or after the rise.
    mechanism: int  # Of mechanisms.MECHANISMS.
    slowdown: float
    level: Floats
    delta: Floats
    variance: Floats


class Onsets:
    """Judges the histories after each frame, beside what best-effort does."""

    def __init__(
        self, histories: Histories, pressure: Pressure, relapses: Relapses, false_alarm_days: float, phase_odds: float
    ) -> None:
        self._histories = histories
        self._pressure = pressure
        self._relapses = relapses
        self._false_alarm_days = false_alarm_days
        self._phase_odds = phase_odds
        self._near = np.zeros(0)  # 1: came half-way to an alarm, in logs, when last judged; so it is judged again.
        self._coincidence = Coincidence(_COINCIDENCE_S)
        self._lately = np.zeros((_LATELY, len(RESOURCES)))  # Ring, by frame: greatest worth of rises just begun.
        self._frames = 0
        self._able = np.zeros(len(MECHANISMS))

    def move(self, places: Ints) -> None:
        self._near = moved(self._near, places, 0.0)

    def observe(self, suffering: Collection[Episode]) -> None:
        """To be called once the pressure of each frame was observed.  `suffering`: the contentions that hold."""
        self._able = self._who_is_able()
        onsets = [each.onset for each in suffering]
        self._coincidence.observe(self._pressure, self._histories.t, self._histories.interval_s, onsets)

    def find(self, held: Bools, suffering: Collection[Episode]) -> list[Onset]:
        """The contentions that begin, in containers that are not `held` in one already."""
        known = self._histories
        worth = self._coincidence.evidence(AGES, known.interval_s)
        relapsing = np.zeros(len(known.containers), dtype=np.bool_)
        for name in self._relapses.observe(self._pressure, known.t, known.interval_s):
            relapsing[known.places[name]] = True
        flagged = self._screen(held, relapsing, suffering, worth[:NOW])
        return self._judge(flagged, suffering, worth) if len(flagged) else []

    def weigh(self, place: int, age: int) -> tuple[Floats, Floats, Shifts]:
        """Odds of each mechanism since that age, in logs, and its slowdown, both (mechanisms,); the shifts themselves.

        Neighbours have no say: theirs would rest on ours, and ours on theirs.
        """
        ages, places = np.array([age]), np.array([place])
        seen = self._histories.shifts(places, ages)
        prior = self._prior(ages, self._coincidence.evidence(ages, self._histories.interval_s))
        score, slowdown = self._odds(seen, places, prior, np.full_like(prior, -np.inf))
        return score[:, 0, 0], slowdown[:, 0, 0], seen

    def _screen(self, held: Bools, relapsing: Bools, suffering: Collection[Episode], worth_now: Floats) -> Ints:
        """Rows in which `_judge` may find something, going by the running means of their innovations.

        `relapsing`: where little evidence is enough.
        """
        self._lately[self._frames % _LATELY] = worth_now.max(axis=0)
        self._frames += 1
        helps = np.log(self._lately.max(axis=0))[_RESOURCE_OF]
        noise = self._histories.noise
        z = np.maximum(noise.means, 0.0)
        if self._histories.interval_s < _HICCUP_S:  # One sample is not judged; of two the first tells most (shifts.py).
            q = 1.0 - noise.phi
            two = q * noise.means[0]
            two += self._histories.last_innovations
            q *= q
            q += 1.0
            two /= np.sqrt(q, out=q)
            np.maximum(two, 0.0, out=z[0])
        z *= z
        z /= np.maximum(noise.inflation, 1.0)
        # Interference moves all its signals at the same moment, so that one scale is the best for all of them.
        size = (SIGNALS_OF @ z).max(axis=0)
        size /= 2.0
        young = any(self._histories.t - each.onset <= OLDEST_S for each in suffering)
        limit = math.log(COMPANIONS) if young else self._threshold
        if not young:  # Beside a neighbour that suffers, no task's ability to do harm is asked for.
            helps += self._able
        bound = (size + helps[:, None]).max(axis=0)
        possible = (bound >= _SCREEN * limit) | (self._near > 0.0)
        possible |= relapsing & (size.max(axis=0) >= _SCREEN * math.log(COMPANIONS))
        return np.flatnonzero(possible & ~held)

    @property
    def _threshold(self) -> float:
        """Of log odds: one sample in `false_alarm_days` passes by chance."""
        return math.log(self._false_alarm_days * 86400.0 / self._histories.interval_s)

    def _judge(self, rows: Ints, suffering: Collection[Episode], worth: Floats) -> list[Onset]:
        """`worth`: of best-effort's rises at AGES."""
        known = self._histories
        usable = (known.oldest >= AGES) & (len(known) > AGES) & (AGES * known.interval_s >= _HICCUP_S)
        ages, worth = AGES[usable], worth[usable]
        if not len(ages):
            return []
        seen = known.shifts(rows, ages)
        prior, threshold = self._prior(ages, worth), self._threshold
        protected = [known.containers[row] for row in rows]
        again = self._relapses.weight(protected, self._pressure, ages, known.interval_s)
        together = np.maximum(self._together(ages, suffering), again)
        expected = np.maximum(prior, together + threshold - math.log(COMPANIONS))
        worth_it = (mechanisms.at_most(seen) + expected).max(axis=(0, 1)) >= 0.5 * threshold
        score = np.full((len(MECHANISMS), len(ages), len(rows)), -np.inf)
        slowdown = np.zeros(score.shape)
        if worth_it.any():
            score[..., worth_it], slowdown[..., worth_it] = self._odds(
                seen.of(worth_it), rows[worth_it], prior, together[..., worth_it]
            )
        # What several mechanisms explain alike, where little is measured, is interference by any of them.
        total = np.logaddexp.reduce(score, axis=0)
        best = total.max(axis=0)
        self._near[rows] = best >= -0.5 * threshold
        found = []
        for i in np.flatnonzero(best >= 0.0):
            a = int(np.argmax(total[:, i]))
            m = int(np.argmax(score[:, a, i]))
            began = int(ages[_about(ages, worth)[a, :, _RESOURCE_OF[m]].argmax()])
            of_signals = seen.level[a, :, i], seen.delta[a, :, i], seen.variance[a, :, i]
            at, slowed = float(known.times(began)[0]), float(slowdown[m, a, i])
            found.append(Onset(protected[i], at, began, int(ages[a]), m, slowed, *of_signals))
        self._dismiss(rows, best < 0.0, mechanisms.change(seen.of_one_kind()), ages)
        return found

    def _dismiss(self, rows: Ints, innocent: Bools, anything: Floats, ages: Ints) -> None:
        """Makes a change that is long ago, and was not found to be interference, the container's new normal."""
        known = self._histories
        changed = anything.argmax(axis=0)
        long_ago = (ages >= min(_DISMISS_SAMPLES, known.oldest)) & (ages * known.interval_s >= _DISMISS_S)
        told = anything.max(axis=0, initial=-np.inf) > self._threshold
        for i in np.flatnonzero(innocent & told & long_ago[changed]):
            known.renew(int(rows[i]), known.times(int(ages[changed[i]]))[0])

    # -- prior odds, in logs ---

    def _prior(self, ages: Ints, worth: Floats) -> Floats:
        """Prior odds of each mechanism at each age; (mechanisms, ages, 1).

        `worth`: of best-effort's rises at these ages.
        """
        coincident = _about(ages, worth).max(axis=1)
        prior: Floats = np.log(coincident)[:, _RESOURCE_OF].T + self._able[:, None] - math.log(len(MECHANISMS))
        return prior[:, :, None]

    def _who_is_able(self) -> Floats:
        """For each mechanism: has any best-effort row enough of its resource to do harm?  (mechanisms,)."""
        share = self._pressure.held.max(axis=1, initial=0.0)[_RESOURCE_OF]
        with np.errstate(divide="ignore"):
            by_capacity = np.minimum(0.0, np.log(share / _CAN_HURT))
        return np.where(_BY_CAPACITY, by_capacity, np.where(share > _USES, 0.0, -np.inf))

    def _together(self, ages: Ints, suffering: Collection[Episode]) -> Floats:
        """Weight of a neighbour that suffers by each mechanism since about each moment; shaped as `_prior`.

        It is 0 at the neighbour's own onset, falls with the distance from it, and is -inf without such a neighbour.
        A contention that takes L seconds to build up seems to begin anywhere within them.  If each octave of L is
        equally likely, a distance of d seconds weighs 1 / d - 1 / longest.
        """
        known = self._histories
        together = np.full((len(MECHANISMS), len(ages), 1), -np.inf)
        if not suffering:
            return together
        moments = np.array([known.times(int(age))[0] for age in ages])
        at_once_s, longest_s = 1.5 * known.interval_s, known.oldest * known.interval_s
        for each in suffering:
            off_s = np.clip(np.abs(moments - each.onset), at_once_s, longest_s)
            with np.errstate(divide="ignore"):
                weight = np.log((1.0 / off_s - 1.0 / longest_s) / (1.0 / at_once_s - 1.0 / longest_s))
            np.maximum(together[each.mechanism, :, 0], weight, out=together[each.mechanism, :, 0])
        return together

    def _odds(self, seen: Shifts, rows: Ints, prior: Floats, together: Floats) -> tuple[Floats, Floats]:
        known = self._histories
        stalls = np.full((len(MECHANISMS), len(rows)), -np.inf)
        for place, mechanism in enumerate(MECHANISMS):
            if mechanism.stalls is not None:
                stalls[place] = np.log(known.stalls.per_hour[mechanism.stalls, rows])
        before = Beforehand(prior, together, stalls, self._threshold, math.log(self._phase_odds))
        return odds(seen, known.samples(int(AGES[-1]), rows), known.interval_s, before)


def _about(ages: Ints, worth: Floats) -> Floats:
    """Worth of a rise at each age for a change at each age; (ages of changes, ages of rises, resources)."""
    apart = np.abs(ages[:, None] - ages)
    weight = np.where(apart == 0, 1.0, np.where(apart <= _BESIDE, 0.5, 0.0))
    about: Floats = weight[:, :, None] * worth
    return about
