"""The interference detector's mean delay beside the bound ln(ARL0) / KL: one JSON line.

    python -m bench.qos_delay [--onsets 20]

No sequential detector with a mean time between false alarms of ARL0 samples finds a change
sooner, on average and for large ARL0, than ln(ARL0) / KL samples, KL being the divergence of a
changed sample from an unchanged one (Lorden, Procedures for reacting to a change in
distribution, 1971).  Here the signal is io pressure with white noise of known size, which no
phase of a program explains; the detector has to find time, size and mechanism by itself, beside
a best-effort task that begins to write at the onset (`mean_delay_s`), or one that always wrote
as much (`alone_s`): nothing coincides then, and it must outlast what a container waits for by itself.

If a slowdown grows gradually, each sample tells as much as the slowdown has grown by then: the bound is when the sum of
the samples' divergences comes to ln(ARL0) (Lai, Information bounds and quick detection of parameter changes, 1998).
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace

import numpy as np

from serenity.qos.detectors.interference.detector import Interference, InterferenceParameters
from serenity.qos.evidence.signals import LEAST_SHARE
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container, Frame

NOISE = 0.3  # In logs.
BASE = 0.05  # Share of time.
QUIET_S, HURT_S = 400, 120


def delays(
    slowdown: float, onsets: int, false_alarm_days: float, rise_s: float = 0.0, *, coincides: bool = True
) -> list[float]:
    """For each onset, on a node of its own: samples from it to the frame in which it is detected, the first being 1."""
    parameters = replace(InterferenceParameters(), false_alarm_days=false_alarm_days)
    return [_delay(np.random.default_rng(seed), slowdown, parameters, rise_s, coincides) for seed in range(onsets)]


def _delay(
    luck: np.random.Generator, slowdown: float, parameters: InterferenceParameters, rise_s: float, coincides: bool
) -> float:
    rows = (Container("p", PRODUCTION, "p", 1.0, 1.0), Container("b", BEST_EFFORT, "b", 1.0, 1.0))
    detector = Interference(parameters)
    for t in range(QUIET_S + HURT_S):
        share = grown(t - QUIET_S + 1, rise_s) if t >= QUIET_S else 0.0
        waits = max((BASE + slowdown * share + LEAST_SHARE) * math.exp(luck.normal(0.0, NOISE)) - LEAST_SHARE, 0.0)
        writes = 1e8 * (share if coincides else 1.0)
        columns = {"psi_io": [waits, 0.0], "io_bytes": [1e6, writes], "cpu": [1.0, 1.0]}
        frame = Frame(float(t), rows, {name: np.array(values) for name, values in columns.items()})
        if detector.step(frame) and t >= QUIET_S:
            return t - QUIET_S + 1.0
    return math.inf


def grown(sample: int, rise_s: float) -> float:
    """The share of the slowdown that has come by that sample, the first sample being 1."""
    return min(1.0, sample / rise_s) if rise_s else 1.0


def bound(slowdown: float, false_alarm_days: float, rise_s: float = 0.0) -> float:
    """The bound in samples of a second, for a change in the logarithm's level, in Gaussian noise."""
    needed, sample = math.log(false_alarm_days * 86400.0), 0
    while True:
        sample += 1
        shift = math.log1p(slowdown * grown(sample, rise_s) / (BASE + LEAST_SHARE))
        tells = shift * shift / (2.0 * NOISE * NOISE)
        if tells >= needed:
            return sample - 1 + needed / tells
        needed -= tells


def mean(told: list[float]) -> float | None:
    """None where an onset was missed."""
    return round(sum(told) / len(told), 2) if math.isfinite(sum(told)) else None


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--onsets", type=int, default=20)
    options.add_argument("--false-alarm-days", type=float, default=10.0)
    chosen = options.parse_args()
    days = chosen.false_alarm_days
    told = [
        {
            "slowdown": slowdown,
            "rise_s": rise_s,
            "mean_delay_s": mean(delays(slowdown, chosen.onsets, days, rise_s)),
            "alone_s": mean(delays(slowdown, chosen.onsets, days, rise_s, coincides=False)),
            "bound_s": round(bound(slowdown, days, rise_s), 2),
        }
        for rise_s in (0.0, 20.0, 40.0, 60.0)
        for slowdown in (0.08, 0.1, 0.2, 0.4)
    ]
    print(json.dumps({"false_alarm_days": days, "noise_logs": NOISE, "delays": told}))


if __name__ == "__main__":
    main()
