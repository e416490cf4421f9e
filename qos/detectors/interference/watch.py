"""Contentions while they hold: what causes them, when they are over, and when they come back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from serenity.qos.detectors.interference.episode import Episode
from serenity.qos.detectors.interference.histories import Histories
from serenity.qos.detectors.interference.onsets import AGES, NOW, Onset
from serenity.qos.detectors.interference.relapses import Relapses
from serenity.qos.evidence.mechanisms import MECHANISMS, SIGNALS_OF
from serenity.qos.evidence.pressure import Pressure
from serenity.qos.evidence.shifts import LEAST_BEFORE, Shifts
from serenity.qos.frame import Bools, Floats

_SETTLES_S = 10.0  # For so long after a contention was noticed, more evidence may change its cause and suspects.
_GONE_S = 15.0  # A culprit that has let go for so long has no part in the harm that is left.
# Culprits are the rows whose letting go may end the contention: their rise is more than _SHARED of the greatest rise,
# and more than _NEW of their pressure since.
_SHARED, _NEW = 0.3, 0.5
_RECOVERY_SAMPLES = (3, 6, 12, 24)
_BACK_SAMPLES = LEAST_BEFORE + NOW + 1  # After these a shift that comes back has a new baseline, of the pause.
_TELLS_HALF = 0.2  # Standard deviation of `remaining` that decides: a half is then 2.5 deviations from 0 and from 1.


class Watch:
    """`weigh`: as `Onsets.weigh`; a contention is given up after `give_up_s`."""

    def __init__(
        self,
        histories: Histories,
        pressure: Pressure,
        relapses: Relapses,
        weigh: Callable[[int, int], tuple[Floats, Floats, Shifts]],
        give_up_s: float,
    ) -> None:
        self._histories = histories
        self._pressure = pressure
        self._relapses = relapses
        self._weigh = weigh
        self._give_up_s = give_up_s
        self.episodes: dict[str, Episode] = {}  # By container id.
        self._over: dict[str, Episode] = {}  # Recovered a moment ago: there is no new baseline yet.

    def keep(self) -> None:
        """Forgets the containers that are gone."""
        here = self._histories.places
        self.episodes = {name: each for name, each in self.episodes.items() if name in here}
        self._over = {name: each for name, each in self._over.items() if name in here}

    @property
    def held(self) -> Bools:
        """Which containers are in a contention; (containers,)."""
        held = np.zeros(len(self._histories.containers), dtype=np.bool_)
        held[[self._histories.places[name] for name in self.episodes]] = True
        return held

    def relearn(self, name: str) -> None:
        """No best-effort task caused it: the container's present state is its new normal."""
        self._over.pop(name, None)
        if self.episodes.pop(name, None) is not None and name in self._histories.places:
            self._histories.renew(self._histories.places[name], self._histories.t)

    def begin(self, onset: Onset) -> None:
        place = self._histories.places[onset.container.id]
        now = self._histories.t
        episode = Episode(onset.container, onset.at, now, onset.mechanism, onset.slowdown, onset.level)
        episode.count(self._histories.samples(onset.age, place))
        episode.weigh(SIGNALS_OF[onset.mechanism], onset.delta, onset.variance)
        if self._recovered(episode, place, onset.age, (1, *_RECOVERY_SAMPLES)):
            return  # A moment's disturbance: it is over, and only still in the means.
        self._accuse(episode, onset.began)
        self.episodes[onset.container.id] = episode

    def step(self) -> None:
        """Follows all contentions by the newest frame."""
        known = self._histories
        self._resume()
        for name, episode in list(self.episodes.items()):
            place = known.places[name]
            episode.count(known.samples(1, place))
            age = self._pressure.since(episode.onset)
            if known.t - episode.noticed <= _SETTLES_S and 0 < age <= AGES[-1]:
                self._settle(episode, place, age)
            if self._recovered(episode, place, age):
                self._relapses.note(name, episode.mechanism, episode.jobs, known.t)
                self._over[name] = self.episodes.pop(name)
                # Of the samples that show the recovery, the oldest may be harmed still.  And the rest of the shift
                # would pass for innovations, and give these the heaviest of tails.
                known.settle(place, _RECOVERY_SAMPLES[0])
            elif (gone := self._gone(episode, age)) or known.t - episode.noticed > self._give_up_s:
                if gone:
                    self._relapses.note(name, episode.mechanism, episode.jobs, known.t)
                del self.episodes[name]
                known.renew(place, known.t - _GONE_S)

    def _resume(self) -> None:
        """A shift that comes back before there is a new baseline is the earlier contention, which was not over."""
        known = self._histories
        for name, episode in list(self._over.items()):
            place = known.places[name]
            since = known.since_start(place, _BACK_SAMPLES + 1)
            samples = min(since, _RECOVERY_SAMPLES[0])
            if since > _BACK_SAMPLES or name in self.episodes:
                del self._over[name]
            elif samples > 1 and self._is_back(episode, place, samples, (since - samples + 2) * known.interval_s):
                self.episodes[name] = self._over.pop(name)
                episode.resume(float(known.times(samples)[0]), known.t)
                episode.count(known.samples(samples - 1, place))  # The newest is counted with all.

    def _is_back(self, episode: Episode, place: int, samples: int, pause_s: float) -> bool:
        """Surely more than half of the shift is back, and some task, old or new, presses more than in the pause."""
        deviation = self._look(episode, place, samples)
        if episode.remaining - 0.5 * deviation / _TELLS_HALF < 0.5:
            return False
        resource = MECHANISMS[episode.mechanism].resource
        then = max((then - before for before, then in episode.culprits.values()), default=0.0)
        rise = self._pressure.rise(samples, self._histories.interval_s, pause_s)[resource]
        return bool(rise.max(initial=0.0) >= 0.5 * then)

    def _settle(self, episode: Episode, place: int, age: int) -> None:
        """More evidence, since the onset, may tell another cause and other culprits."""
        score, slowdown, seen = self._weigh(place, age)
        m = int(np.argmax(score))
        if score[m] <= score[episode.mechanism] + 1.0:
            m = episode.mechanism
        # With no signal that shows the contention, its end could not be seen either.
        if episode.weigh(SIGNALS_OF[m], seen.delta[0, :, 0], seen.variance[0, :, 0]):
            episode.mechanism, episode.slowdown = m, float(slowdown[m])
        self._accuse(episode, age)

    def _accuse(self, episode: Episode, age: int) -> None:
        interval_s = self._histories.interval_s
        resource = MECHANISMS[episode.mechanism].resource
        rise = self._pressure.rise(age, interval_s)[resource]
        span = max(1, round(_SETTLES_S / interval_s))
        before = self._pressure.mean(age, age + span, resource)
        then = before + rise
        guilty = np.flatnonzero((rise > _SHARED * max(rise.max(initial=0.0), 0.0)) & (rise > _NEW * then))
        episode.culprits = {self._pressure.rows.ids[k]: (float(before[k]), float(then[k])) for k in guilty}
        episode.jobs = {self._pressure.containers[k].job: float(rise[k]) for k in guilty[np.argsort(rise[guilty])]}

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
        return episode.look(self._histories.samples(samples, place), self._histories.long_run(place))

    def _gone(self, episode: Episode, age: int) -> bool:
        """The culprits have let go, or left, for long enough."""
        span = max(1, round(_GONE_S / self._histories.interval_s))
        if not episode.culprits or age < 2 * span:
            return False
        resource = MECHANISMS[episode.mechanism].resource
        now = self._pressure.mean(0, span, resource)
        at, t = self._pressure.rows.places, self._histories.t
        for name in episode.culprits:
            if name not in at:
                episode.left.setdefault(name, t)
        return all(
            now[at[name]] < before + 0.5 * (then - before) if name in at else t - episode.left[name] >= _GONE_S
            for name, (before, then) in episode.culprits.items()
        )
