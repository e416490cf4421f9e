from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from serenity.qos.contention import Contention
from serenity.qos.detectors.episode import Episode
from serenity.qos.detectors.relapses import Relapses
from serenity.qos.evidence import mechanisms, signals
from serenity.qos.evidence.mechanisms import MECHANISMS, SIGNALS_OF
from serenity.qos.evidence.noise import SCALES_S, Noise
from serenity.qos.evidence.odds import COMPANIONS, Beforehand, odds
from serenity.qos.evidence.pressure import RESOURCES, Coincidence, Pressure
from serenity.qos.evidence.shifts import LEAST_BEFORE, Ints, Past, Shifts, shifts
from serenity.qos.evidence.stalls import Stalls
from serenity.qos.frame import Bools, Container, Floats, Frame
from serenity.qos.rows import Ring, Rows, moved
from serenity.qos.sampling import Sampling
from serenity.qos.stages import POSITIVE, Parameters, parameter

_COUNT = len(signals.SIGNALS)
_SPAN = 128  # Samples kept of every production row.
# How many samples ago the change may have begun: in finer steps where recent, an eighth to a quarter of the age.
_AGES = np.array([1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40, 48, 60])
_NOW = 3  # The first of these ages: changes that began with one of the newest samples.
_OLDEST_S = 60.0  # A change that has not shown by then is slower than any baseline is steady.
_LEAST_OLDEST = 6  # Samples, however far apart: with fewer a change could not be told from noise.
_GAP = 2.0  # Intervals: the first sample after a gap, however long, weighs in learning as two at most.
_HICCUP_S = 1.5  # One sample of a second proves nothing: the mean of two must be enough still.
_BESIDE = 3  # Samples by which noise shifts the apparent onset, as often as not: hence the half in `_about`.
_LEAST_BEFORE = 20  # Samples of the baseline, however far apart: its standard error is then a fifth of a sample's.
_SETTLES_S = 10.0  # For so long after a contention was noticed, more evidence may change its cause and suspects.
# Age at which a change that is no interference becomes the new normal; in samples too, so that it was judged often
# enough.  A slow rise of best-effort is found only over half a minute: that must have been seen whole by then.
_DISMISS_S, _DISMISS_SAMPLES = 40.0, 8
_GONE_S = 15.0  # A culprit that has let go for so long has no part in the harm that is left.
# A task with less than a tenth of a cache can displace at most a tenth of the others' data in it, and a task with less
# than a tenth of the bandwidth lengthens queues by about as much.  Below that, the less a task has, the less likely is
# harm by it.
_CAN_HURT = 0.1
# Culprits are the rows whose letting go may end the contention: their rise is more than _SHARED of the greatest rise,
# and more than _NEW of their pressure since.
_SHARED, _NEW = 0.3, 0.5
_USES = 1e-4  # Share of a capacity above which it counts as used.
# The screening's bound is weaker than the analysis it stands for: this share of the limit is enough to pass it.
_SCREEN = 0.8
_LATELY = 64  # Frames for which a rise of best-effort helps rows through the screening.
_COINCIDENCE_S = 3600.0  # Over which the usual rises are learnt: jobs come and go within hours.
_RECOVERY_SAMPLES = (3, 6, 12, 24)
_BACK_SAMPLES = LEAST_BEFORE + _NOW + 1  # After these a shift that comes back has a new baseline, of the pause.
_TELLS_HALF = 0.2  # Standard deviation of `remaining` that decides: a half is then 2.5 deviations from 0 and from 1.
# Ages from which the next scale is nearer, in logs.
_SCALES_MEET_S = np.sqrt(np.maximum(SCALES_S[:-1], 1.0) * SCALES_S[1:])
_RESOURCE_OF = np.array([each.resource for each in MECHANISMS])
_BY_CAPACITY = np.array([each.by_capacity for each in MECHANISMS])


@dataclass(frozen=True)
class InterferenceParameters(Parameters):
    false_alarm_days: float = parameter(10.0, "days", "mean time between false alarms of noise, a container", POSITIVE)
    phase_odds: float = parameter(
        20.0, "ratio", "how much likelier a phase of the program begins than interference", POSITIVE
    )
    before_s: float = parameter(
        60.0, "s", "how long a past makes the baseline of a change; 64 samples at most", POSITIVE
    )
    memory_s: float = parameter(300.0, "s", "over which the noise of a signal is learnt", POSITIVE)
    min_cpu: float = parameter(0.25, "cores", "below this use hardware counters are not trusted", POSITIVE)
    give_up_s: float = parameter(600.0, "s", "after which what still holds is the new normal", POSITIVE)


class Interference:
    """A production container's signals have shifted as interference shifts them, and hardly anything else does.

    For each of 17 moments τ of the last minute (of 60 samples, where these are closer than a second), the shifts δ of
    log CPI, MPKI, cache occupancy, run delay a CPU second, io and memory pressure, and the indicator are estimated,
    with their variances, by generalised least squares (AR(1) noise, learnt; `before_s` of baseline).  What the
    container's own load may explain is added to the variance.  Then

        odds = 1 / (7 N / E + 7 (`phase_odds` L'(phase) + S) / E')      E = L(mechanism) e(coincidence) a(ability)

    L: likelihood ratio to "nothing has changed", by Student's t with learnt tails.  For a mechanism (llc,
    memory_bandwidth, cpu, io, memory, slo, unknown) it is averaged over slowdowns of 5 to 160 %, each of which moves
    the mechanism's signals together.  For a phase of the program, which moves counters freely, it is that of the
    likeliest moment.  A shift that rests on few samples may be noise, and has heavy tails.  The choice between a phase
    and a mechanism must not depend on this: in E' and L' all moments have the tails of the one with most samples.
    e: how unusual best-effort's rise on that resource was at τ, on this node.  a: at most 1; less if no best-effort
    task holds a tenth of the cache or bandwidth.  S = max over mechanisms of r L' exp(-d / 2 s): a stall of the
    container's own looks like a mechanism (cpu, io, memory, slo), but is short.  d: how long that shift has lasted;
    r: the container's stalls an hour, learnt over an hour.  N: samples in `false_alarm_days`.

    Fires when the odds of some mechanism and τ reach 1, τ is at least 1.5 s ago (two samples, at one a second), and the
    signals have not recovered since.  L is a martingale where nothing changes, so that by Ville's inequality noise gets
    there at most about once in `false_alarm_days`.  Where a neighbour is known to have suffered by the same mechanism
    since τ, the odds are L(mechanism) / (1000 + L(phase) + S / `phase_odds`); since d seconds before or after τ, these
    times (1 / d - 1 / 60) / (1 / 1.5 - 1 / 60): a contention that builds up may seem to begin at any time meanwhile.
    The same odds as beside a neighbour hold where a job that harmed the container within the last hour, by the same
    mechanism, rose at τ by a quarter of what did that harm.

    The contention holds, levels frozen, until the signals that showed it are half-way back; until the tasks whose
    pressure rose at its onset have let go for 15 s; or for `give_up_s`, after which the present state is the baseline.
    Counters of rows that use less than `min_cpu` are not trusted.  A shift that comes back within 10 samples, with a
    rise of some task's pressure, is the same contention, even if it would not be found by itself: there is no other
    baseline yet.  A change that is not interference is the new baseline after 40 s and 8 samples (where 60 s hold fewer
    than 8, after these; at least 6).

    Sources: Page, Continuous inspection schemes, 1954, and Lai, Sequential change-point detection by generalised
    likelihood ratios, 1998 (bank of moments and sizes); Robbins, 1970 (mixtures); Box and Tiao, 1975 (a step in
    autocorrelated noise); Vovk and Wang, E-values, 2021 (from p-values to evidence).  The mechanisms are ours.
    """

    name = "interference"
    reads = signals.READS | frozenset(RESOURCES)

    def __init__(self, parameters: InterferenceParameters) -> None:
        self._parameters = parameters
        self._told = asdict(parameters)
        self._rows = Rows()
        self._containers: tuple[Container, ...] = ()
        self._protected: list[Container] = []
        self._places: Ints = np.zeros(0, dtype=np.intp)
        self._better = self._falls = np.zeros(0)
        self._ring = Ring(_SPAN, _COUNT + len(signals.OWN), np.nan)
        self._noise = Noise(_COUNT, parameters.memory_s, parameters.before_s / 2.0)
        self._stalls = Stalls(_COUNT)
        self._usual = np.zeros((len(signals.OWN), 0))  # The containers' own load: averages over half of `before_s`.
        self._start = np.zeros(0)  # Start of the segment that is judged: samples before it are of another normal.
        self._near = np.zeros(0)  # 1: came half-way to an alarm, in logs, when last judged; so it is judged again.
        self._pressure = Pressure()
        self._shares_pressure = False
        self._coincidence = Coincidence(_COINCIDENCE_S)
        self._lately = np.zeros((_LATELY, len(RESOURCES)))  # Ring, by frame: greatest worth of rises just begun.
        self._frames = 0
        self._able = np.zeros(len(MECHANISMS))
        self._episodes: dict[str, Episode] = {}
        self._over: dict[str, Episode] = {}  # Recovered a moment ago: there is no new baseline yet.
        self._relapses = Relapses(_COINCIDENCE_S)
        self._sampling = Sampling()
        self._last_t = math.nan

    def share(self, pressure: Pressure) -> None:
        self._pressure, self._shares_pressure = pressure, True

    def relearn(self, protected_id: str) -> None:
        self._over.pop(protected_id, None)
        self._relapses.forget(protected_id)
        episode = self._episodes.pop(protected_id, None)
        if episode is not None and protected_id in self._rows.places:
            self._renew(self._rows.places[protected_id], self._last_t)

    def step(self, frame: Frame) -> list[Contention]:
        dt_s = frame.t - self._last_t
        self._last_t = frame.t
        self._sampling.observe(frame.t)
        interval_s = self._sampling.interval_s
        dt_s = min(dt_s, _GAP * interval_s) if dt_s > 0 else interval_s
        if frame.containers is not self._containers:
            self._follow(frame)
        usual = self._noise.levels[signals.SLI]
        x = signals.look(frame, self._places, self._parameters.min_cpu, self._better, usual)
        self._ring.push(frame.t, x)
        held = np.zeros(len(self._protected), dtype=np.bool_)
        held[[self._rows.places[name] for name in self._episodes]] = True
        last = self._noise.means[0].copy()
        self._noise.learn(x[:_COUNT], dt_s, held, self._explained(x[_COUNT:], dt_s))
        self._stalls.observe(self._noise.wild_for == 1.0, dt_s, held)
        if not self._shares_pressure:
            self._pressure.observe(frame)
        self._able = self._who_is_able()
        onsets = [each.onset for each in self._episodes.values()]
        self._coincidence.observe(self._pressure, frame.t, interval_s, onsets)
        self._watch(frame, interval_s)
        worth = self._coincidence.evidence(_AGES, interval_s)
        relapsing = np.zeros(len(self._protected), dtype=np.bool_)
        relapsing[[self._rows.places[name] for name in self._relapses.observe(self._pressure, frame.t, interval_s)]] = (
            True
        )
        flagged = self._screen(frame.t, held, relapsing, last, worth[:_NOW], interval_s)
        if len(flagged):
            self._judge(frame, flagged, worth, interval_s)
        return [each.contention(frame.t, self.name, self._told) for each in self._episodes.values()]

    def _follow(self, frame: Frame) -> None:
        """The set of containers has changed, or may have."""
        self._containers = frame.containers
        self._places = np.flatnonzero(frame.production)
        self._protected = [frame.containers[place] for place in self._places]
        falls = (each.indicator is not None and each.indicator.better == "higher" for each in self._protected)
        self._falls = np.array(list(falls), dtype=np.float64)
        self._better = 1.0 - 2.0 * self._falls
        places = self._rows.moves([each.id for each in self._protected])
        if places is None:
            return
        self._ring.move(places)
        self._noise.move(places)
        self._stalls.move(places)
        self._usual = moved(self._usual, places, np.nan)
        self._start = moved(self._start, places, frame.t)
        self._near = moved(self._near, places, 0.0)
        here = set(self._rows.ids)
        self._episodes = {name: each for name, each in self._episodes.items() if name in here}
        self._over = {name: each for name, each in self._over.items() if name in here}
        self._relapses.keep(here)

    def _explained(self, own: Floats, dt_s: float) -> Floats:
        """Variance of each signal that the present deviation of the container's own load explains; shaped as those."""
        self._usual = np.where(np.isnan(self._usual), own, self._usual)
        grown = own - self._usual
        weight = -math.expm1(-2.0 * dt_s / self._parameters.before_s)
        self._usual += weight * np.where(np.isnan(grown), 0.0, grown)
        return signals.explained(grown, np.isfinite(grown[0]), self._falls, np.nan_to_num(self._noise.levels))

    # -- onset ---

    def _screen(
        self, t: float, held: Bools, relapsing: Bools, last: Floats, worth_now: Floats, interval_s: float
    ) -> Ints:
        """Rows in which `_judge` may find something, going by the running means of their innovations.

        `relapsing`: where little evidence is enough; `last`: the innovations of the sample before the newest.
        """
        self._lately[self._frames % _LATELY] = worth_now.max(axis=0)
        self._frames += 1
        helps = np.log(self._lately.max(axis=0))[_RESOURCE_OF]
        z = np.maximum(self._noise.means, 0.0)
        if interval_s < _HICCUP_S:  # One sample is not judged; of two the first tells most (shifts.py).
            q = 1.0 - self._noise.phi
            two = q * self._noise.means[0]
            two += last
            q *= q
            q += 1.0
            two /= np.sqrt(q, out=q)
            np.maximum(two, 0.0, out=z[0])
        z *= z
        z /= np.maximum(self._noise.inflation, 1.0)
        # Interference moves all its signals at the same moment, so that one scale is the best for all of them.
        size = (SIGNALS_OF @ z).max(axis=0)
        size /= 2.0
        young = any(t - each.onset <= _OLDEST_S for each in self._episodes.values())
        limit = math.log(COMPANIONS) if young else self._threshold(interval_s)
        if not young:  # Beside a neighbour that suffers, no task's ability to do harm is asked for.
            helps += self._able
        bound = (size + helps[:, None]).max(axis=0)
        possible = (bound >= _SCREEN * limit) | (self._near > 0.0)
        possible |= relapsing & (size.max(axis=0) >= _SCREEN * math.log(COMPANIONS))
        return np.flatnonzero(possible & ~held)

    def _threshold(self, interval_s: float) -> float:
        return math.log(self._parameters.false_alarm_days * 86400.0 / interval_s)

    def _past(self, rows: Ints, ages: Ints, interval_s: float) -> Past:
        before = self._before(interval_s)
        samples = before + int(ages.max())
        x = self._ring.window(samples)[:, :, rows]
        old = self._ring.times(samples)[:, None] < self._start[rows]
        np.copyto(x, np.nan, where=old[:, None])
        scale = np.searchsorted(_SCALES_MEET_S, ages * interval_s)
        inflation = np.maximum(self._noise.inflation[:, :, rows][scale], 1.0)
        return Past(
            x,
            self._noise.phi[:, rows],
            self._noise.sigma[:, rows],
            self._noise.tails[:, rows],
            self._noise.freedom[:, rows],
            inflation,
            self._noise.wander[:, rows] * np.minimum(1.0, ages * interval_s / _OLDEST_S)[:, None, None],
            self._falls[rows],
            interval_s,
        )

    def _before(self, interval_s: float) -> int:
        return min(_SPAN // 2, max(_LEAST_BEFORE, round(self._parameters.before_s / interval_s)))

    def _prior(self, ages: Ints, worth: Floats) -> Floats:
        """Prior odds of each mechanism at each age, in logs; (mechanisms, ages, 1).

        `worth`: of best-effort's rises at these ages.
        """
        coincident = _about(ages, worth).max(axis=1)
        prior: Floats = np.log(coincident)[:, _RESOURCE_OF].T + self._able[:, None] - math.log(len(MECHANISMS))
        return prior[:, :, None]

    def _who_is_able(self) -> Floats:
        """For each mechanism, in logs: has any best-effort row enough of its resource to do harm?  (mechanisms,)."""
        share = self._pressure.held.max(axis=1, initial=0.0)[_RESOURCE_OF]
        with np.errstate(divide="ignore"):
            by_capacity = np.minimum(0.0, np.log(share / _CAN_HURT))
        return np.where(_BY_CAPACITY, by_capacity, np.where(share > _USES, 0.0, -np.inf))

    def _together(self, ages: Ints, interval_s: float) -> Floats:
        """Weight, in logs, of a neighbour that suffers by each mechanism since about each moment; shaped as `_prior`.

        It is 0 at the neighbour's own onset, falls with the distance from it, and is -inf without such a neighbour.
        A contention that takes L seconds to build up seems to begin anywhere within them.  If each octave of L is
        equally likely, a distance of d seconds weighs 1 / d - 1 / longest.
        """
        together = np.full((len(MECHANISMS), len(ages), 1), -np.inf)
        if not self._episodes:
            return together
        moments = np.array([self._ring.times(int(age))[0] for age in ages])
        at_once_s, longest_s = 1.5 * interval_s, _oldest(interval_s) * interval_s
        for each in self._episodes.values():
            off_s = np.clip(np.abs(moments - each.onset), at_once_s, longest_s)
            with np.errstate(divide="ignore"):
                weight = np.log((1.0 / off_s - 1.0 / longest_s) / (1.0 / at_once_s - 1.0 / longest_s))
            np.maximum(together[each.mechanism, :, 0], weight, out=together[each.mechanism, :, 0])
        return together

    def _odds(
        self, seen: Shifts, rows: Ints, prior: Floats, together: Floats, interval_s: float
    ) -> tuple[Floats, Floats]:
        stalls = np.full((len(MECHANISMS), len(rows)), -np.inf)
        for place, mechanism in enumerate(MECHANISMS):
            if mechanism.stalls is not None:
                stalls[place] = np.log(self._stalls.per_hour[mechanism.stalls, rows])
        x = self._ring.window(int(_AGES[-1]))[:, :_COUNT, rows]
        noise, phase = self._threshold(interval_s), math.log(self._parameters.phase_odds)
        return odds(seen, x, interval_s, Beforehand(prior, together, stalls, noise, phase))

    def _judge(self, frame: Frame, rows: Ints, worth: Floats, interval_s: float) -> None:
        """`worth`: of best-effort's rises at _AGES."""
        usable = (_oldest(interval_s) >= _AGES) & (len(self._ring) > _AGES) & (_AGES * interval_s >= _HICCUP_S)
        ages, worth = _AGES[usable], worth[usable]
        if not len(ages):
            return
        seen = shifts(self._past(rows, ages, interval_s), ages, self._before(interval_s))
        prior, threshold = self._prior(ages, worth), self._threshold(interval_s)
        protected = [self._protected[row] for row in rows]
        again = self._relapses.weight(protected, self._pressure, ages, interval_s)
        together = np.maximum(self._together(ages, interval_s), again)
        expected = np.maximum(prior, together + threshold - math.log(COMPANIONS))
        worth_it = (mechanisms.at_most(seen) + expected).max(axis=(0, 1)) >= 0.5 * threshold
        score = np.full((len(MECHANISMS), len(ages), len(rows)), -np.inf)
        slowdown = np.zeros(score.shape)
        if worth_it.any():
            score[..., worth_it], slowdown[..., worth_it] = self._odds(
                seen.of(worth_it), rows[worth_it], prior, together[..., worth_it], interval_s
            )
        best = score.max(axis=(0, 1))
        self._near[rows] = best >= -0.5 * threshold
        for i in np.flatnonzero(best >= 0.0):
            m, a = np.unravel_index(np.argmax(score[:, :, i]), score.shape[:2])
            container, age = self._protected[rows[i]], int(ages[a])
            # The onset is that of the coinciding rise, even if the shift shows some samples before or after it.
            began = int(ages[_about(ages, worth)[a, :, _RESOURCE_OF[m]].argmax()])
            onset = float(self._ring.times(began)[0])
            episode = Episode(container, onset, frame.t, int(m), float(slowdown[m, a, i]), seen.level[a, :, i])
            episode.count(self._ring.window(age)[:, :_COUNT, rows[i]])
            episode.weigh(SIGNALS_OF[m], seen.delta[a, :, i], seen.variance[a, :, i])
            if self._recovered(episode, int(rows[i]), age, (1, *_RECOVERY_SAMPLES)):
                continue  # A moment's disturbance: it is over, and only still in the means.
            self._accuse(episode, began, interval_s)
            self._episodes[container.id] = episode
        self._dismiss(rows, best < 0.0, mechanisms.change(seen.of_one_kind()), ages, interval_s)

    def _dismiss(self, rows: Ints, innocent: Bools, anything: Floats, ages: Ints, interval_s: float) -> None:
        """Makes a change that is long ago, and was not found to be interference, the container's new normal."""
        changed = anything.argmax(axis=0)
        long_ago = (ages >= min(_DISMISS_SAMPLES, _oldest(interval_s))) & (ages * interval_s >= _DISMISS_S)
        told = anything.max(axis=0, initial=-np.inf) > self._threshold(interval_s)
        for i in np.flatnonzero(innocent & told & long_ago[changed]):
            self._renew(int(rows[i]), self._ring.times(int(ages[changed[i]]))[0])

    def _renew(self, place: int, since: float) -> None:
        self._start[place] = since
        recent = self._ring.times(len(self._ring)) >= since
        self._noise.renew(place, self._ring.window(len(self._ring))[recent][:, :_COUNT, place])

    def _accuse(self, episode: Episode, age: int, interval_s: float) -> None:
        resource = MECHANISMS[episode.mechanism].resource
        rise = self._pressure.rise(age, interval_s)[resource]
        span = max(1, round(_SETTLES_S / interval_s))
        before = self._pressure.mean(age, age + span, resource)
        then = before + rise
        guilty = np.flatnonzero((rise > _SHARED * max(rise.max(initial=0.0), 0.0)) & (rise > _NEW * then))
        episode.culprits = {self._pressure.rows.ids[k]: (float(before[k]), float(then[k])) for k in guilty}
        episode.jobs = {self._pressure.containers[k].job: float(rise[k]) for k in guilty[np.argsort(rise[guilty])]}

    # -- while it holds ---

    def _watch(self, frame: Frame, interval_s: float) -> None:
        self._resume(frame.t, interval_s)
        for name, episode in list(self._episodes.items()):
            place = self._rows.places[name]
            episode.count(self._ring.window(1)[:, :_COUNT, place])
            age = self._pressure.since(episode.onset)
            if frame.t - episode.noticed <= _SETTLES_S and 0 < age <= _AGES[-1]:
                self._settle(episode, place, age, interval_s)
            if self._recovered(episode, place, age):
                self._relapses.note(name, episode.mechanism, episode.jobs, frame.t)
                self._over[name] = self._episodes.pop(name)
                self._start[place] = frame.t  # Of the samples that show the recovery, the oldest may be harmed still.
                # Else the rest of the shift would pass for innovations, and give these the heaviest of tails.
                self._noise.settle(place, self._ring.window(_RECOVERY_SAMPLES[0])[:, :_COUNT, place])
            elif (gone := self._gone(episode, frame.t, age, interval_s)) or (
                frame.t - episode.noticed > self._parameters.give_up_s
            ):
                if gone:
                    self._relapses.note(name, episode.mechanism, episode.jobs, frame.t)
                del self._episodes[name]
                self._renew(place, frame.t - _GONE_S)

    def _resume(self, t: float, interval_s: float) -> None:
        """A shift that comes back before there is a new baseline is the earlier contention, which was not over."""
        for name, episode in list(self._over.items()):
            place = self._rows.places[name]
            since = int((self._ring.times(_BACK_SAMPLES + 1) > self._start[place]).sum())
            samples = min(since, _RECOVERY_SAMPLES[0])
            if since > _BACK_SAMPLES or name in self._episodes:
                del self._over[name]
            elif samples > 1 and self._is_back(episode, place, samples, (since - samples + 2) * interval_s, interval_s):
                self._episodes[name] = self._over.pop(name)
                episode.resume(float(self._ring.times(samples)[0]), t)
                episode.count(self._ring.window(samples - 1)[:, :_COUNT, place])  # The newest is counted with all.

    def _is_back(self, episode: Episode, place: int, samples: int, pause_s: float, interval_s: float) -> bool:
        """Surely more than half of the shift is back, and some task, old or new, presses more than in the pause."""
        deviation = self._look(episode, place, samples)
        if episode.remaining - 0.5 * deviation / _TELLS_HALF < 0.5:
            return False
        resource = MECHANISMS[episode.mechanism].resource
        then = max((then - before for before, then in episode.culprits.values()), default=0.0)
        return bool(self._pressure.rise(samples, interval_s, pause_s)[resource].max(initial=0.0) >= 0.5 * then)

    def _settle(self, episode: Episode, place: int, age: int, interval_s: float) -> None:
        ages = np.array([age])
        seen = shifts(self._past(np.array([place]), ages, interval_s), ages, self._before(interval_s))
        # Neighbours have no say in the cause: theirs would rest on ours, and ours on theirs.
        prior = self._prior(ages, self._coincidence.evidence(ages, interval_s))
        alone = np.full_like(prior, -np.inf)
        score, slowdown = self._odds(seen, np.array([place]), prior, alone, interval_s)
        m = int(np.argmax(score[:, 0, 0]))
        if score[m, 0, 0] <= score[episode.mechanism, 0, 0] + 1.0:
            m = episode.mechanism
        # With no signal that shows the contention, its end could not be seen either.
        if episode.weigh(SIGNALS_OF[m], seen.delta[0, :, 0], seen.variance[0, :, 0]):
            episode.mechanism, episode.slowdown = m, float(slowdown[m, 0, 0])
        self._accuse(episode, age, interval_s)

    def _recovered(self, episode: Episode, place: int, age: int, counts: tuple[int, ...] = _RECOVERY_SAMPLES) -> bool:
        """Less than half of the shift remains, by the fewest of the newest samples that can decide this."""
        for samples in counts:
            if samples >= age:
                return False
            if self._look(episode, place, samples) <= _TELLS_HALF or samples == counts[-1]:
                return episode.remaining < 0.5
        return False

    def _look(self, episode: Episode, place: int, samples: int) -> float:
        """Updates the episode by so many of the newest samples; returns the standard deviation of `remaining`."""
        long_run = (self._noise.sigma[:, place] / (1.0 - self._noise.phi[:, place])) ** 2
        return episode.look(self._ring.window(samples)[:, :_COUNT, place], long_run)

    def _gone(self, episode: Episode, t: float, age: int, interval_s: float) -> bool:
        span = max(1, round(_GONE_S / interval_s))
        if not episode.culprits or age < 2 * span:
            return False
        resource = MECHANISMS[episode.mechanism].resource
        now = self._pressure.mean(0, span, resource)
        at = self._pressure.rows.places
        for name in episode.culprits:
            if name not in at:
                episode.left.setdefault(name, t)
        return all(
            now[at[name]] < before + 0.5 * (then - before) if name in at else t - episode.left[name] >= _GONE_S
            for name, (before, then) in episode.culprits.items()
        )


def _oldest(interval_s: float) -> int:
    """The greatest age, in samples, at which a change may have begun."""
    return max(_LEAST_OLDEST, round(_OLDEST_S / interval_s))


def _about(ages: Ints, worth: Floats) -> Floats:
    """Worth of a rise at each age for a change at each age; (ages of changes, ages of rises, resources)."""
    apart = np.abs(ages[:, None] - ages)
    weight = np.where(apart == 0, 1.0, np.where(apart <= _BESIDE, 0.5, 0.0))
    about: Floats = weight[:, :, None] * worth
    return about
