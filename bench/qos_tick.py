"""How much CPU one live tick takes, on real cgroups: ``python -m bench.qos_tick [CONTAINERS]``.

Prints one JSON line ``{"containers", "live_tick_ms_p50", "live_tick_ms_p99", "sample_ms_p50", "hierarchies"}``.
A tick is a sample by all sources that the machine has, and the default pipeline over it.
The containers are cgroups in every hierarchy that can be written, each with one sleeping process;
they are removed again.  Milliseconds are CPU time of the thread.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serenity.daemon.clock import SystemClock
from serenity.qos.pipeline import Pipeline
from serenity.qos.sources.cgroups import V2, Mounts
from serenity.qos.sources.roster import Look
from serenity.qos.sources.sampler import Sampler
from serenity.wire.mesos.state import AgentIdentity, Container

_CONTROLLERS = ("cpu", "cpuacct", "memory", "blkio", V2)
_WARM_UP = 5  # Ticks, which open the files.
_PAUSE_S = 0.05  # Between ticks, so that the caches are not only ours.


@dataclass
class _Roster:
    latest: Look


def measure(containers: int = 100, ticks: int = 500) -> dict[str, Any]:
    """The first ticks, which open the files, are left out.  The times are None where no cgroup can be made."""
    with _machine(containers) as (rows, hierarchies):
        if not hierarchies:
            nothing = dict.fromkeys(("live_tick_ms_p50", "live_tick_ms_p99", "sample_ms_p50"))
            return {"containers": 0, **nothing, "hierarchies": []}
        look = Look(time.monotonic(), AgentIdentity("a", "h", "1.11.0", 8.0, 1 << 34), tuple(rows))
        sampler = Sampler(_Roster(look), SystemClock(), of_node=True)  # type: ignore[arg-type]
        pipeline = Pipeline.load()
        ticks_ms, samples_ms = [], []
        try:
            for tick in range(ticks + _WARM_UP):
                began_s = time.thread_time()
                pipeline.step(sampler.sample(float(tick)))
                ticks_ms.append((time.thread_time() - began_s) * 1e3)
                samples_ms.append(sampler.last_cost_s * 1e3)
                time.sleep(_PAUSE_S)
        finally:
            sampler.close()
    return {
        "containers": containers,
        "live_tick_ms_p50": _quantile(ticks_ms, 0.5),
        "live_tick_ms_p99": _quantile(ticks_ms, 0.99),
        "sample_ms_p50": _quantile(samples_ms, 0.5),
        "hierarchies": hierarchies,
    }


def _quantile(costs_ms: list[float], share: float) -> float:
    costs_ms = sorted(costs_ms[_WARM_UP:])
    return round(costs_ms[int(len(costs_ms) * share)], 2)


@contextmanager
def _machine(count: int) -> Iterator[tuple[list[Container], list[str]]]:
    mounts = Mounts.read()
    parents: dict[str, Path] = {}
    for controller in _CONTROLLERS:
        folder = mounts.folder(controller, f"/serenity-bench-{os.getpid()}")
        try:
            if folder is not None:
                folder.mkdir(exist_ok=True)
                parents[controller or "v2"] = folder
        except OSError:
            continue  # Not ours to write.
    processes: list[subprocess.Popen[bytes]] = []
    rows = []
    try:
        for i in range(count if parents else 0):
            name = str(uuid.uuid4())
            processes.append(subprocess.Popen(["sleep", "600"]))
            for parent in set(parents.values()):
                (parent / name).mkdir()
                (parent / name / "cgroup.procs").write_text(str(processes[-1].pid))
            revocable_cpus = 1.0 if i % 2 == 0 else 0.0
            rows.append(Container(name, "F", "bench", f"e{i}", processes[-1].pid, 1.0, 1 << 28, revocable_cpus))
        yield rows, sorted(parents)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for parent in set(parents.values()):
            for folder in (*(each for each in parent.iterdir() if each.is_dir()), parent):
                _remove(folder)


def _remove(folder: Path) -> None:
    """Tries for a while: a cgroup whose last process has just ended is busy for a moment."""
    deadline_s = time.monotonic() + 10
    while True:
        try:
            folder.rmdir()
            return
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.01)


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:]))))
