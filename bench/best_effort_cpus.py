"""What a best-effort task of some cpus gets, and what that costs production: one JSON line a row.

    python -m bench.best_effort_cpus --mesos-bin DIR [--windows 8] [--window-s 2] [--weight 1] [--parts weights,slack]

Needs root, cgroups v1 and a real Mesos with cgroups isolation, so that its containers have Mesos' CPU weights.
The agent has as many cpus as the machine, and production nine tenths of them.  Production is `idle`, `busy`
(a spinning thread a CPU) or `bursting` (every 100 ms a fixed piece of work a CPU, which takes about half of that).

`weights`: one task with corrections off, so that priority alone decides.  In turns it is stopped and runs.
`be_cores` is its CPU time a second, `be_part` that of what nobody but it and production used; `production_kept`
is production's part beside it over that alone; `burst_ratio` and `burst_ratio_p99` a burst's time, likewise.
`plain`: the same under an agent with ``--no-revocable_cpu_low_priority``.
`equal`: two tasks of different cpus with as many threads, which leave no CPU idle: each one's part of what both use.
`slack`: corrections on, a task in four fifths of the slack of an idle production task, which then ends, grows to
use all it can, or is joined by a new one.  Seconds until the agent is told less, and until a limit is in force on
the task; that limit over the task's cpus; seconds until it was evicted, if it was.
All but the last are medians over windows.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.executor import wait_until
from serenity.cli.client import Framework, job_path
from serenity.cli.stack import Stack, StackOptions, agent_resources
from serenity.executor.tasks.guardian import CGROUP_PREFIX
from serenity.localmesos.cluster.cluster import ClusterOptions, find_mesos
from serenity.wire.mesos.state import AgentReader
from serenity.wire.messages import api
from serenity.wire.messages.api import MIB
from serenity.wire.messages.node import qos_off_file
from serenity.wire.transport import http
from tests.estimator.conftest import Framework as Production

_CPUS = os.cpu_count() or 1
_MEM_MB = 4096.0
_PRODUCTION_CPUS = 0.9 * _CPUS
_EXECUTOR_CPUS = 0.1
_ACCOUNTING, _QUOTAS = Path("/sys/fs/cgroup/cpuacct"), Path("/sys/fs/cgroup/cpu")
_SETTLE_S = 0.3
_FOLLOW_S = 25.0
# Gives slack within seconds: its prediction is not what is measured here.
_PIPELINE = """
[qos.strategy]
name = "cpu_share"
[[slack.filters]]
name = "pr_executor_pass"
[slack.predictor]
name = "peak"
window_s = 5.0
margin = 0.0
min_age_s = 3.0
[slack.report]
rise_s = 0.0
grow_s = 0.0
"""
_SPIN = "while True: pass"
# A burst is 0.05 s of work, calibrated by the fastest of 20 tries; each writes a line: when it ended, what it took.
_BURSTS = """
import sys, time
def work(n):
    began = time.monotonic()
    for _ in range(n): pass
    return time.monotonic() - began
n = int(1_000_000 * 0.05 / min(work(1_000_000) for _ in range(20)))
with open(sys.argv[1], "a", 1) as file:
    while True:
        took_s = work(n)
        file.write(f"{time.monotonic()} {took_s}\\n")
        time.sleep(max(0.001, 0.1 - took_s))
"""


@dataclass(frozen=True, slots=True)
class Window:
    """CPU time a second, and the bursts that ended in it.  A part is a share of what nobody else on the machine got."""

    best_effort: float
    production: float
    idle: float
    bursts_s: tuple[float, ...]

    @property
    def best_effort_part(self) -> float:
        return self.best_effort / self._left

    @property
    def production_part(self) -> float:
        return self.production / self._left

    @property
    def _left(self) -> float:
        return self.best_effort + self.production + self.idle


class Node:
    """A stack on a real Mesos, and production on it."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self._stack = stack
        self._folder = folder
        self.tell = folder / "grow"  # Once this file exists, production that is idle until told is busy.
        self.client = Framework(stack.url)
        self.web = Production(stack.cluster.master, "*")
        self._agent = AgentReader(stack.cluster.agent)
        self._containers = _ACCOUNTING / self._agent.flags()["cgroups_root"]

    def weigh(self, weight: int) -> None:
        """Sets the weight of all containers together, against the rest of the machine, to so many times the usual."""
        (_QUOTAS / self._containers.name / "cpu.shares").write_text(str(1024 * weight))

    def produce(self, kind: str, cpus: float = _PRODUCTION_CPUS) -> str:
        """Runs a production task; returns its task id."""
        python = f"{sys.executable} -I -S"
        busy = " & ".join([f'{python} -c "{_SPIN}"'] * _CPUS) + " & wait"
        (self._folder / "bursts.py").write_text(_BURSTS)
        burst = f"{python} {self._folder}/bursts.py {self._folder}"
        command = {
            "idle": "exec sleep 86400",
            "busy": busy,
            "idle until told": f"while [ ! -e {self.tell} ]; do sleep 0.5; done; {busy}",
            "bursting": " & ".join(f"{burst}/bursts.{number}" for number in range(_CPUS)) + " & wait",
        }[kind]
        return self.web.run(command, cpus=cpus, mem_mb=_MEM_MB * cpus / _CPUS * 0.8)

    @contextlib.contextmanager
    def best_effort(self, cpus: float, threads: int) -> Iterator[Path]:
        """Runs a task that would use `threads` CPUs; yields its cgroup in the accounting hierarchy."""
        before = self._task_cgroups()
        line = " & ".join([f'{sys.executable} -I -S -c "{_SPIN}"'] * threads) + " & wait"
        request = api.JobRequest(command=("sh", "-c", line), cpus=cpus, mem_bytes=64 * MIB, grace_s=0.0)
        job = self.client.post("/v1/jobs", request, api.Job).id
        try:
            wait_until(lambda: self._task_cgroups() - before, f"a task of {cpus} cpus")
            (cgroup,) = self._task_cgroups() - before
            yield cgroup
        finally:
            self.client.post(job_path(job, "/kill"), {}, api.Job)
            wait_until(lambda: self.client.get(job_path(job), api.JobDetail).job.state.ended, "its end")

    def _task_cgroups(self) -> set[Path]:
        return {each for each in self._containers.glob(f"*/{CGROUP_PREFIX}*") if pids(each)}

    def production_s(self) -> float:
        found = [each for each in self._agent.containers() if not each.revocable]
        return sum(cpu_s(self._containers / each.container_id) for each in found)

    def slack(self) -> Mapping[str, Any]:
        endpoint = http.Endpoint.parse(self._stack.estimator_address)
        answer: Mapping[str, Any] = http.request(endpoint, "GET", "/slack").json()
        return answer

    def told_cpus(self) -> float:
        return float((self.slack().get("told") or {"cpus": 0.0})["cpus"])

    def bursts_s(self, begin_s: float, end_s: float) -> tuple[float, ...]:
        lines = [line.split() for file in self._folder.glob("bursts.*") if file.suffix != ".py"
                 for line in file.read_text().splitlines()]  # fmt: skip
        return tuple(float(line[1]) for line in lines if len(line) == 2 and begin_s <= float(line[0]) < end_s)

    def window(self, cgroup: Path, seconds: float) -> Window:
        time.sleep(_SETTLE_S)
        begin_s, before_s = time.monotonic(), (cpu_s(cgroup), self.production_s(), idle_s())
        time.sleep(seconds)
        end_s, after_s = time.monotonic(), (cpu_s(cgroup), self.production_s(), idle_s())
        used = [(after - before) / (end_s - begin_s) for after, before in zip(after_s, before_s, strict=True)]
        return Window(*used, self.bursts_s(begin_s, end_s))


def cpu_s(cgroup: Path) -> float:
    return int((cgroup / "cpuacct.usage").read_text()) / 1e9


def idle_s() -> float:
    """Idle time of all CPUs of the machine since it booted, including time that waits for I/O."""
    idle, waiting = map(int, Path("/proc/stat").read_text().split(maxsplit=6)[4:6])
    return (idle + waiting) / os.sysconf("SC_CLK_TCK")


def pids(cgroup: Path) -> list[int]:
    try:
        return [int(line) for line in (cgroup / "cgroup.procs").read_text().split()]
    except OSError:
        return []  # The cgroup is gone.


def quota_cores(cgroup: Path) -> float | None:
    """The limit in force on the task whose cgroup in the accounting hierarchy is `cgroup`, in cores; None: no limit."""
    folder = _QUOTAS / cgroup.relative_to(_ACCOUNTING)
    quota = int((folder / "cpu.cfs_quota_us").read_text())
    return None if quota < 0 else quota / int((folder / "cpu.cfs_period_us").read_text())


@contextlib.contextmanager
def node(mesos_bin: Path, weight: int, *, corrections: bool, low_priority: bool = True) -> Iterator[Node]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="serenity-bench-")))
        (folder / "pipeline.toml").write_text(_PIPELINE)
        (folder / "run").mkdir(mode=0o700)
        if not corrections:
            qos_off_file(folder / "run").touch()
        cluster = ClusterOptions(
            work_dir=folder / "m",
            mesos_bin=mesos_bin,
            resources=agent_resources(_CPUS, _MEM_MB),
            cgroups=True,
            agent_flags={} if low_priority else {"no-revocable_cpu_low_priority": None},
        )
        environment = {"SERENITY_ESTIMATOR_PIPELINE": str(folder / "pipeline.toml")}
        running = stack.enter_context(Stack(StackOptions(cluster, folder / "run", environment=environment)))
        made = Node(running, folder)
        stack.callback(made.web.stop)
        made.weigh(weight)
        yield made


def weights(made: Node, kind: str, cpus: float, threads: int, windows: int, window_s: float) -> dict[str, object]:
    """One task beside production of that kind; production is idle until the task runs, so that it gets slack."""
    standby = made.produce("idle")
    wait_until(lambda: made.told_cpus() >= cpus + _EXECUTOR_CPUS, "slack")
    with made.best_effort(cpus, threads) as cgroup:
        if kind != "idle":
            made.web.kill(standby)
            standby = made.produce(kind)
        alone, beside = [], []
        for _ in range(windows):
            _signal(cgroup, signal.SIGSTOP)
            alone.append(made.window(cgroup, window_s))
            _signal(cgroup, signal.SIGCONT)
            beside.append(made.window(cgroup, window_s))
    made.web.kill(standby)
    row: dict[str, object] = {
        "production": kind,
        "cpus": cpus,
        "threads": threads,
        "be_part": round(_median(beside, "best_effort_part"), 4),
        "be_cores": round(_median(beside, "best_effort"), 3),
    }
    if kind == "busy":
        row["production_kept"] = round(_median(beside, "production_part") / _median(alone, "production_part"), 3)
    if kind == "bursting":
        for name, quantile in (("burst_ratio", 0.5), ("burst_ratio_p99", 0.99)):
            row[name] = round(_burst_s(beside, quantile) / _burst_s(alone, quantile), 3)
    return row


def equal(made: Node, sizes: Sequence[float], threads: int, windows: int, window_s: float) -> dict[str, object]:
    """Tasks of these cpus with as many threads each, which leave no CPU idle, beside idle production."""
    standby = made.produce("idle")
    wait_until(lambda: made.told_cpus() >= sum(sizes) + _EXECUTOR_CPUS, "slack")
    with contextlib.ExitStack() as stack:
        cgroups = [stack.enter_context(made.best_effort(cpus, threads)) for cpus in sizes]
        parts: list[list[float]] = [[] for _ in sizes]
        for _ in range(windows):
            before_s = [cpu_s(each) for each in cgroups]
            time.sleep(window_s)
            used_s = [cpu_s(each) - before for each, before in zip(cgroups, before_s, strict=True)]
            for found, used in zip(parts, used_s, strict=True):
                found.append(used / sum(used_s))
    made.web.kill(standby)
    return {"cpus": list(sizes), "threads": threads, "parts": [round(statistics.median(each), 3) for each in parts]}


def slack(made: Node, what: str) -> dict[str, object]:
    """A task in most of an idle production task's slack; then something happens to production."""
    made.tell.unlink(missing_ok=True)
    standby = made.produce("idle until told", _PRODUCTION_CPUS * 0.7)
    wait_until(lambda: made.told_cpus() >= _PRODUCTION_CPUS * 0.6, "slack")
    cpus, others = round(0.8 * made.told_cpus(), 2), []
    with made.best_effort(cpus, _CPUS) as cgroup:
        time.sleep(8.0)
        wait_until(lambda: quota_cores(cgroup) is None, "a task without a limit")  # Its own start may have brought one.
        told_before, began_s = made.told_cpus(), time.monotonic()
        happen: dict[str, Callable[[], object]] = {
            "ends": lambda: made.web.kill(standby),
            "grows": made.tell.touch,
            "is joined": lambda: others.append(made.produce("idle", _PRODUCTION_CPUS * 0.2)),
        }
        happen[what]()
        row = _follow(made, cgroup, cpus, told_before, began_s)
    for task in [*others, *([] if what == "ends" else [standby])]:
        made.web.kill(task)
    return {"production": what, "cpus": cpus, **row}


def _follow(made: Node, cgroup: Path, cpus: float, told_before: float, began_s: float) -> dict[str, object]:
    seen: dict[str, object] = dict.fromkeys(("told_less_s", "limited_s", "limit_of_its_cpus", "evicted_s"))
    while (now_s := time.monotonic()) < began_s + _FOLLOW_S and seen["evicted_s"] is None:
        took_s = round(now_s - began_s, 1)
        if seen["told_less_s"] is None and made.told_cpus() < told_before - 0.05:
            seen["told_less_s"] = took_s
        try:
            limit = quota_cores(cgroup)
        except FileNotFoundError:
            seen["evicted_s"] = took_s
            break
        if limit is not None:
            seen["limited_s"] = seen["limited_s"] or took_s
            seen["limit_of_its_cpus"] = round(limit / cpus, 2)
        time.sleep(0.1)
    shown = made.slack()
    return {**seen, "slack": [shown["cpus"], shown["mem_bytes"] // MIB], "valve_closed": shown["valve"]["closed"]}


def _signal(cgroup: Path, number: signal.Signals) -> None:
    for pid in pids(cgroup):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _median(windows: Sequence[Window], name: str) -> float:
    return statistics.median(getattr(each, name) for each in windows)


def _burst_s(windows: Sequence[Window], quantile: float) -> float:
    found = sorted(burst for each in windows for burst in each.bursts_s)
    return found[min(len(found) - 1, int(len(found) * quantile))]


def rows(
    parts: Sequence[str], mesos_bin: Path, weight: int, windows: int, window_s: float
) -> Iterator[dict[str, object]]:
    sizes = (0.25 * _CPUS, 0.5 * _CPUS)
    if "weights" in parts:
        with node(mesos_bin, weight, corrections=False) as made:
            for kind in ("idle", "busy", "bursting"):
                for cpus in sizes:
                    yield {"part": "weights", **weights(made, kind, cpus, 2 * _CPUS, windows, window_s)}
    if "plain" in parts:
        with node(mesos_bin, weight, corrections=False, low_priority=False) as made:
            for kind in ("busy", "bursting"):
                yield {"part": "plain", **weights(made, kind, sizes[1], 2 * _CPUS, windows, window_s)}
    if "equal" in parts:
        with node(mesos_bin, weight, corrections=False) as made:
            yield {"part": "equal", **equal(made, sizes, 2 * _CPUS, windows, window_s)}
    if "slack" in parts:
        with node(mesos_bin, weight, corrections=True) as made:
            for what in ("ends", "grows", "is joined"):
                yield {"part": "slack", **slack(made, what)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mesos-bin", metavar="DIR", help="default SERENITY_MESOS_BIN, else PATH")
    options.add_argument("--windows", type=int, default=8, help="of each kind")
    options.add_argument("--window-s", type=float, default=2.0)
    options.add_argument("--weight", type=int, default=1, help="of all containers, where the machine has other work")
    options.add_argument("--parts", default="weights,plain,equal,slack")
    chosen = options.parse_args()
    found = find_mesos(chosen.mesos_bin)
    if found is None:
        sys.exit("no mesos-master and mesos-agent; say where by --mesos-bin")
    for row in rows(chosen.parts.split(","), found, chosen.weight, chosen.windows, chosen.window_s):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
