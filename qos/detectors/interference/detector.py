from __future__ import annotations

from dataclasses import asdict, dataclass

from serenity.qos.contention import Contention
from serenity.qos.detectors.interference.histories import Histories
from serenity.qos.detectors.interference.onsets import Onsets
from serenity.qos.detectors.interference.relapses import Relapses
from serenity.qos.detectors.interference.watch import Watch
from serenity.qos.evidence import signals
from serenity.qos.evidence.pressure import RESOURCES, Pressure
from serenity.qos.frame import Frame
from serenity.qos.stages import POSITIVE, Parameters, parameter

_RELAPSES_S = 3600.0  # For so long a job that did harm is expected to do it again: jobs come and go within hours.


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

    Fires when the odds of all mechanisms together reach 1 at some τ at least 1.5 s ago (two samples, at one a second),
    and the signals have not recovered since; the likeliest mechanism is the cause.  L is a martingale where nothing
    changes, so that by Ville's inequality noise gets there at most about once in `false_alarm_days`.  Where a neighbour
    is known to have suffered by the same mechanism since τ, the odds are L(mechanism) / (1000 + L(phase) + S /
    `phase_odds`); since d seconds before or after τ, these times (1 / d - 1 / 60) / (1 / 1.5 - 1 / 60): a contention
    that builds up may seem to begin at any time meanwhile.  The same odds as beside a neighbour hold where a job that
    harmed the container within the last hour, by the same mechanism, rose at τ by a quarter of what did that harm.

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
        self._histories = Histories(parameters.before_s, parameters.memory_s, parameters.min_cpu)
        self._relapses = Relapses(_RELAPSES_S)
        self._shares_pressure = False
        self._look_at(Pressure())

    def _look_at(self, pressure: Pressure) -> None:
        self._pressure = pressure
        of = self._parameters
        known, relapses = self._histories, self._relapses
        self._onsets = Onsets(known, pressure, relapses, of.false_alarm_days, of.phase_odds)
        self._watch = Watch(known, pressure, relapses, self._onsets.weigh, of.give_up_s)

    def share(self, pressure: Pressure) -> None:
        self._look_at(pressure)
        self._shares_pressure = True

    def relearn(self, protected_id: str) -> None:
        self._relapses.forget(protected_id)
        self._watch.relearn(protected_id)

    def step(self, frame: Frame) -> list[Contention]:
        places = self._histories.follow(frame)
        if places is not None:
            self._onsets.move(places)
            self._watch.keep()
            self._relapses.keep(self._histories.places)
        held = self._watch.held
        self._histories.learn(frame, held)
        if not self._shares_pressure:
            self._pressure.observe(frame)
        self._onsets.observe(self._watch.episodes.values())
        self._watch.step()
        for onset in self._onsets.find(held, self._watch.episodes.values()):
            self._watch.begin(onset)
        return [each.contention(frame.t, self.name, self._told) for each in self._watch.episodes.values()]
