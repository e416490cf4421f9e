"""Services and tasks for the interference detector, a second at a time."""

from __future__ import annotations

import numpy as np

from serenity.qos.detectors.interference.detector import Interference, InterferenceParameters
from serenity.qos.frame import Node

NODE = Node(cpus=8.0, llc_bytes=3e7, mem_bw=2e10)


def causes(made, seconds, press):
    """Those found; `press(t)` gives what the service's use and the two tasks' is multiplied by."""
    luck, detector = np.random.default_rng(6), Interference(InterferenceParameters())
    usual = {"cpu": 0.05, "llc_bytes": 1e5, "mem_bw": 1e6}
    service = {"cpu": 1.0, "cycles": 3e9, "instructions": 3e9, "llc_misses": 3e6, "llc_bytes": 4e6, "run_delay": 0.02}
    found = []
    for t in range(seconds):
        web, cache, burn = (
            {name: x * factors.get(name, 1.0) * luck.lognormal(0.0, 0.02) for name, x in columns.items()}
            for columns, factors in zip((service, usual, usual), press(t), strict=True)
        )
        tasks = made.best_effort("cache", **cache), made.best_effort("burn", **burn)
        frame = made.frame(float(t), made.production("web", None, **web), *tasks, node=NODE)
        found += [(t, each.cause) for each in detector.step(frame)]
    return found


class Service:
    """A service and a task, a second at a time."""

    def __init__(self, made):
        self.made, self.luck, self.t = made, np.random.default_rng(3), 0
        self.detector = Interference(InterferenceParameters())

    def seconds(self, count, cpi=1.0, cpu=1.0, waits=0.01, burning=1.0, throughput=None, counted=True):
        found = []
        for _ in range(count):
            self.t += 1
            noise = np.exp(self.luck.normal(0.0, [0.02, 0.3]))
            columns = {"cpu": cpu}
            if counted:
                columns |= {"cycles": 3e9 * cpu, "instructions": 3e9 * cpu / (cpi * noise[0])}
            if throughput is not None:
                columns["sli"] = throughput * np.exp(self.luck.normal(0.0, 0.06))
            means = None if throughput is None else self.made.ops
            row = self.made.production("web", means, **columns, run_delay=cpu * waits * noise[1])
            found += self.detector.step(self.made.frame(float(self.t), row, self.made.best_effort("b", cpu=burning)))
        return found


class Machine:
    """A service with counters and an indicator, and a task, a second at a time; what is given is other than usual."""

    def __init__(self, made, seed=1):
        self.made, self.luck, self.t, self.detector = (
            made,
            np.random.default_rng(seed),
            0,
            Interference(InterferenceParameters()),
        )

    def seconds(self, count, task=None, without=(), **service):
        found = []
        for _ in range(count):
            self.t += 1
            usual = {
                "cpu": 2.0,
                "run_delay": 0.01,
                "cycles": 6e9,
                "instructions": 6e9,
                "llc_misses": 1.2e7,
                "sli": 10.0,
            }
            usual |= {"psi_io": 0.0, "psi_memory": 0.0} | service
            web = {name: value * self.luck.lognormal(0.0, 0.05) for name, value in usual.items() if name not in without}
            columns = {"cpu": 0.02, "io_bytes": 1e4} | (task or {})
            burner = self.made.best_effort("b", **{name: x for name, x in columns.items() if name not in without})
            row = self.made.production("web", self.made.latency, **web)
            found += self.detector.step(self.made.frame(float(self.t), row, burner, node=NODE))
        return found
