"""A contention while it holds: which signals have shifted, how much of the shift remains, and how to report it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from serenity.qos.contention import Contention, Evidence, Parameters
from serenity.qos.evidence import mechanisms, signals
from serenity.qos.frame import Container, Floats

_COUNT = len(signals.SIGNALS)
_NOTHING = 1e-6  # Squared deviations.  A signal that was not measured has a huge variance, and so next to no weight.
_TELLING = 4.0  # Two standard deviations, squared.
_LEAST_HARM = math.log1p(mechanisms.SLOWDOWNS[0])  # In logs: less is not worth a correction.


@dataclass
class Episode:
    """`level`: the signals' levels before the onset, in logs; they stay as they were."""

    container: Container
    onset: float
    noticed: float
    mechanism: int  # Of mechanisms.MECHANISMS.
    slowdown: float
    level: Floats
    delta: Floats = field(default_factory=lambda: np.zeros(_COUNT))
    weight: Floats = field(default_factory=lambda: np.zeros(_COUNT))
    # The best-effort rows whose pressure rose at the onset: their pressure before it, and at it.
    culprits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    jobs: Mapping[str, float] = field(default_factory=dict)  # Of the culprits, by how much each had risen.
    left: dict[str, float] = field(default_factory=dict)  # When a culprit was first missing from the node.
    remaining: float = 1.0  # Share of the shift: 1 as at the onset, 0 as before it.
    well: bool = False  # The application's own indicator says that it no longer suffers.
    observed: Floats | None = None
    samples: int = 0  # Since the onset,
    missing: Floats = field(default_factory=lambda: np.zeros(_COUNT))  # and how many of these lack each signal.

    def count(self, x: Floats) -> None:
        """More samples of the episode, shape (samples, signals)."""
        self.samples += len(x)
        self.missing += np.isnan(x).sum(axis=0)

    def resume(self, onset: float, noticed: float) -> None:
        """Goes on with an episode that had seemed to be over."""
        self.onset, self.noticed = onset, noticed
        self.samples, self.missing, self.left = 0, np.zeros(_COUNT), {}

    def weigh(self, takes_part: Floats, delta: Floats, variance: Floats) -> bool:
        """Weighs each signal that takes part by its evidence: a matched filter for the shift.

        False: no signal has evidence, and the weights stay as they were.
        """
        weight = takes_part * np.maximum(delta, 0.0) / variance
        if not weight @ delta > _NOTHING:
            return False
        self.delta, self.weight = delta, weight
        return True

    def look(self, x: Floats, long_run: Floats) -> float:
        """Takes the newest samples, shape (samples, signals); returns the standard deviation of `remaining`.

        `long_run`: variance of a long mean, times its number of samples.  Infinite is returned where too little was
        measured.
        """
        known = np.isfinite(x)
        count = known.sum(axis=0)
        weight = np.where(2 * count >= len(x), self.weight, 0.0)
        full = float(weight @ self.delta)
        if full <= 0.0:
            return math.inf
        mean = np.where(known, x, 0.0).sum(axis=0) / np.maximum(count, 1)
        self.observed = np.where(count > 0, mean, self.level + self.delta)
        self.remaining = float(weight @ (self.observed - self.level)) / full
        variance = long_run / np.maximum(count, 1)
        # Counters may stay shifted for another reason meanwhile: somebody outside Mesos keeps the CPU busy as well.
        told = self.weight[signals.SLI] * self.delta[signals.SLI] >= _TELLING
        noise = max(_LEAST_HARM, 2.0 * math.sqrt(variance[signals.SLI]))
        self.well = bool(told and self.observed[signals.SLI] - self.level[signals.SLI] <= noise)
        return math.sqrt(float(weight**2 @ variance)) / full

    def contention(self, t: float, detector: str, parameters: Parameters) -> Contention:
        harm = 0.0 if self.well else 1.0 - 1.0 / (1.0 + self.slowdown)
        return Contention(
            cause=mechanisms.MECHANISMS[self.mechanism].cause,
            protected=self.container,
            severity=min(1.0, max(0.0, harm * self.remaining)),
            evidence=self._evidence(t),
            detector=detector,
            parameters=parameters,
        )

    def _evidence(self, t: float) -> Evidence:
        """From the signal with most evidence; from the application's own indicator, where its evidence is enough."""
        told, indicator = self.weight * self.delta, self.container.indicator
        lead = int(np.argmax(told))
        if indicator is not None and told[signals.SLI] >= _TELLING:
            lead = signals.SLI
        meaning = signals.SIGNALS[lead]
        name, unit, falls = meaning.name, meaning.unit, lead == signals.LLC
        if lead == signals.SLI and indicator is not None:
            name, unit, falls = indicator.name, indicator.unit, indicator.better == "higher"
        logs = (self.level + self.delta if self.observed is None else self.observed)[lead]
        baseline, observed = (signals.value(lead, -x if falls else x) for x in (float(self.level[lead]), float(logs)))
        least = float(mechanisms.SLOWDOWNS[0])
        return Evidence(
            signal=name,
            unit=unit,
            observed=observed,
            baseline=baseline,
            deviation=(observed - baseline) / max(baseline, signals.LEAST_SHARE if meaning.wait else 1e-300),
            threshold=-least if falls else least,
            window_start=self.onset,
            window_end=t,
            samples=self.samples,
            missing=int(self.missing[lead]),
        )
