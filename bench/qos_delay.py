"""The interference detector's mean delay beside the bound ln(ARL0) / KL: one JSON line.

    python -m bench.qos_delay [--onsets 40]

No sequential detector with a mean time between false alarms of ARL0 samples finds a change
sooner, on average and for large ARL0, than ln(ARL0) / KL samples, KL being the divergence of a
changed sample from an unchanged one (Lorden, Procedures for reacting to a change in
distribution, 1971).  Here the signal is io pressure with white noise of known size, which no
phase of a program explains, beside a best-effort task that is always busy, so that no
coincidence helps: the detector has to find time, size and mechanism by itself.

Of a slowdown that comes by and by, each sample tells as much as it has grown by then: the bound is when
their divergences have come to ln(ARL0) (Lai, Information bounds and quick detection of parameter changes, 1998).
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace

import numpy as np

from serenity.qos.detectors.interference import Interference, InterferenceParameters
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container, Frame
from serenity.qos.signals import LEAST_SHARE

NOISE = 0.3  # In logs.
BASE = 0.05  # Share of time.
QUIET_S, HURT_S = 400, 120


def delays(slowdown: float, onsets: int, false_alarm_days: float, rise_s: float = 0.0, seed: int = 1) -> list[float]:
    """Samples from the onset to the frame that tells, the first being 1; of parallel containers on one node."""
    luck = np.random.default_rng(seed)
    rows = tuple(Container(f"p{i}", PRODUCTION, "p", 1.0, 1.0) for i in range(onsets))
    rows = (*rows, Container("busy", BEST_EFFORT, "b", 1.0, 1.0))
    detector = Interference(replace(InterferenceParameters(), false_alarm_days=false_alarm_days))
    found: dict[str, float] = {}
    for t in range(QUIET_S + HURT_S):
        level = BASE + (slowdown * grown(t - QUIET_S + 1, rise_s) if t >= QUIET_S else 0.0)
        waits = np.maximum((level + LEAST_SHARE) * np.exp(luck.normal(0.0, NOISE, onsets + 1)) - LEAST_SHARE, 0.0)
        waits[-1] = 0.0
        use = np.full(onsets + 1, 1.0)
        for each in detector.step(Frame(float(t), rows, {"psi_io": waits, "io_bytes": use, "cpu": use})):
            if t >= QUIET_S:
                found.setdefault(each.protected.id, t - QUIET_S + 1.0)
    return [found.get(each.id, math.inf) for each in rows[:-1]]


def grown(sample: int, rise_s: float) -> float:
    """What share of the slowdown is there at that sample, the first being 1."""
    return min(1.0, sample / rise_s) if rise_s else 1.0


def bound(slowdown: float, false_alarm_days: float, rise_s: float = 0.0) -> float:
    """In samples of a second; the change is one of the logarithm's level, in Gaussian noise."""
    needed, sample = math.log(false_alarm_days * 86400.0), 0
    while True:
        sample += 1
        shift = math.log1p(slowdown * grown(sample, rise_s) / (BASE + LEAST_SHARE))
        tells = shift * shift / (2.0 * NOISE * NOISE)
        if tells >= needed:
            return sample - 1 + needed / tells
        needed -= tells


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--onsets", type=int, default=40)
    options.add_argument("--false-alarm-days", type=float, default=10.0)
    chosen = options.parse_args()
    days = chosen.false_alarm_days
    told = [
        {
            "slowdown": slowdown,
            "rise_s": rise_s,
            "mean_delay_s": round(float(np.mean(delays(slowdown, chosen.onsets, days, rise_s))), 2),
            "bound_s": round(bound(slowdown, days, rise_s), 2),
        }
        for rise_s in (0.0, 20.0, 40.0, 60.0)
        for slowdown in (0.08, 0.1, 0.2, 0.4)
    ]
    print(json.dumps({"false_alarm_days": days, "noise_logs": NOISE, "delays": told}))


if __name__ == "__main__":
    main()
