"""Quiet signals with short waits of the containers' own: how many of those are false alarms.  One JSON line.

    python -m bench.stalls [--hours 4] [--seed 1]

Production of a machine that is not full (run delay and io pressure of some thousandths, hardly any
noise, no hardware counters), which now and then waits for itself for a moment: exponential with
a mean of 1.2 s, 5 to 80 % of the time.  Beside it best-effort tasks start every 45 s and do no harm,
and one task is always busy.  Every ten minutes or so either that task, or one that becomes busy just
then, does harm: 10 to 100 %, for one to three minutes.  For each number of such waits an hour in each
container: the default pipeline's false alarms in a container-day, and how soon the harm is told.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container, Frame, Node
from serenity.qos.pipeline import DEFAULT_FILE, Pipeline

STALLS_PER_HOUR = (0.0, 1.0, 6.0, 30.0)
SERVICES = 5
NODE = Node(cpus=16.0, mem_bytes=64e9)
WAITS = ("run_delay", "psi_io")
_AFTER_S = 30.0  # What is told up to this long after a contention belongs to it.
_ONE_ALARM_S = 60.0


@dataclass(frozen=True)
class Harm:
    begin: int
    end: int
    kind: str  # Of WAITS.
    size: float
    begins: bool  # Whether the task that does it becomes busy with it; else it is always busy.
    victims: tuple[int, ...]


@dataclass(frozen=True)
class Job:
    begin: int
    end: int
    cpu: float
    io_bytes: float


class Day:
    """What happens on one node, made up beforehand."""

    def __init__(self, luck: np.random.Generator, seconds: int, stalls_per_hour: float) -> None:
        self.luck, self.seconds = luck, seconds
        # Shares of each second in which a service waits for itself; (seconds, services, WAITS).
        self.stalls = np.zeros((seconds, SERVICES, len(WAITS)))
        for service in range(SERVICES):
            for begin in luck.uniform(0, seconds, luck.poisson(stalls_per_hour * seconds / 3600.0)):
                end = min(begin + luck.exponential(1.2), float(seconds))
                share, kind = luck.uniform(0.05, 0.8), luck.integers(len(WAITS))
                for second in range(int(begin), math.ceil(end)):
                    part = min(end, second + 1.0) - max(begin, second)
                    self.stalls[second, service, kind] += share * part
        self.harms = list(self._harms())
        begins = np.cumsum(luck.exponential(45.0, seconds // 30)).astype(int)
        self.jobs = [
            Job(begin, begin + int(luck.uniform(10, 90)), luck.uniform(0.1, 1.0), luck.choice([10.0, 10.0, 1e6, 2e7]))
            for begin in begins
        ]

    def _harms(self) -> Iterator[Harm]:
        t = 400.0
        while t < self.seconds - 300:
            end = t + self.luck.uniform(60, 200)
            some = tuple(int(each) for each in np.flatnonzero(self.luck.random(SERVICES) < 0.3))
            size, kind = self.luck.choice([0.1, 0.2, 0.5, 1.0]), self.luck.choice(WAITS)
            yield Harm(int(t), int(end), str(kind), float(size), bool(self.luck.random() < 0.5), some or (0,))
            t = end + self.luck.uniform(300, 700)

    def frames(self) -> Iterator[Frame]:
        cpu = self.luck.uniform(0.5, 3.0, SERVICES)
        services = [Container(f"p{i}", PRODUCTION, f"p{i}", 4.0, 4e9) for i in range(SERVICES)]
        standing = [Container(name, BEST_EFFORT, name, 1.0, 1e9) for name in ("busy", "hog")]
        own = [Container(f"job{i}", BEST_EFFORT, f"job{i}", 1.0, 1e9) for i in range(len(self.jobs))]
        for t in range(self.seconds):
            now = [each for each in self.harms if each.begin <= t < each.end]
            running = [i for i, each in enumerate(self.jobs) if each.begin <= t < each.end]
            share = self.stalls[t] + np.array([0.005, 0.0005]) * self._about(0.3, SERVICES, 2)
            for harm in now:
                share[list(harm.victims), WAITS.index(harm.kind)] += 0.5 * harm.size * self._about(0.2)
            hog = [each for each in now if each.begins]
            used = cpu * self._about(0.05, SERVICES) * (1.0 + 0.2 * math.sin(t / 600.0))
            task_cpu = [3.0, 3.0 if hog else 0.05, *(self.jobs[i].cpu for i in running)]
            task_io = [1e8, 1.2e8 if hog else 1e4, *(self.jobs[i].io_bytes for i in running)]
            unknown = np.full(len(task_cpu), math.nan)
            columns = {
                "cpu": np.concatenate([used, task_cpu * self._about(0.05, len(task_cpu))]),
                "io_bytes": np.concatenate(
                    [1e5 * self._about(0.5, SERVICES), task_io * self._about(0.1, len(task_io))]
                ),
                "run_delay": np.concatenate([share[:, 0] * used, unknown]),
                "psi_io": np.concatenate([np.minimum(share[:, 1], 1.0), unknown]),
            }
            yield Frame(float(t), (*services, *standing, *(own[i] for i in running)), columns, NODE)

    def _about(self, sigma: float, *shape: int) -> np.ndarray:
        return np.exp(self.luck.normal(0.0, sigma, shape))


def measure(stalls_per_hour: float, hours: float, seed: int) -> dict[str, object]:
    day = Day(np.random.default_rng(seed), int(3600 * hours), stalls_per_hour)
    pipeline = Pipeline.load(DEFAULT_FILE)
    told: list[tuple[float, str]] = []
    holding: set[str] = set()
    for frame in day.frames():
        found = {each.contention.protected.id for each in pipeline.step(frame)}
        told += [(frame.t, name) for name in found - holding]
        holding = found
    wanted = [(harm, f"p{victim}") for harm in day.harms for victim in harm.victims]
    delays = [
        min((t - harm.begin for t, name in told if name == victim and harm.begin <= t < harm.end), default=math.inf)
        for harm, victim in wanted
    ]
    false, last = 0, {f"p{i}": -math.inf for i in range(SERVICES)}
    for t, name in told:
        of_harm = any(v == name and harm.begin <= t < harm.end + _AFTER_S for harm, v in wanted)
        if not of_harm and t - last[name] > _ONE_ALARM_S:
            false, last[name] = false + 1, t
    found_at = sorted(delays)
    return {
        "stalls_per_hour": stalls_per_hour,
        "stalls": int(stalls_per_hour * hours * SERVICES),
        "false_alarms_per_container_day": round(false * 24.0 / (hours * SERVICES), 2),
        "harmed": len(delays),
        "detected": round(sum(map(math.isfinite, delays)) / len(delays), 3),
        "delay_s_p50": statistics.median_low(found_at),
        "delay_s_p90": found_at[math.ceil(0.9 * len(found_at)) - 1],
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--hours", type=float, default=4.0)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    print(json.dumps([measure(each, chosen.hours, chosen.seed) for each in STALLS_PER_HOUR]))


if __name__ == "__main__":
    main()
