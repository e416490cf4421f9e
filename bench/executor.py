"""What watching a node costs: estimator and executor at one sample a second, as one JSON line.

    python -m bench.executor [--containers 100] [--threads 20] [--seconds 60] [--parts]

Both are real processes, with all sources that this machine has.  Half of the containers are
production, in real cgroups; the others are tasks of the executor.  Each has so many threads,
which wake up once a second.

`cpu_cores`: of both together.  `rss_bytes`: of the larger one.  `tick_ms_*`: CPU time of both
in one second, which is all that they do for one sample: asking the agent, sampling, sending,
deciding.  `syscalls_per_tick`: of both, by strace, in seconds of its own; without it only reads and
writes, as the kernel counts them, which is said.  `--parts`: each of them by process.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.made_up_node import BestEffort, NodeAgent, production, program
from tests.executor.conftest import AGENT_ID, EXECUTOR_ID, FRAMEWORK_ID, FakeAgent

# After this the files are open, and the launches are over.
_WARM_UP_S = 20.0
_SYSCALLS_OVER_S = 10.0
_TASK_CPUS = 0.5
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int) -> float:
    """CPU time of a process, with all threads that it ever had, to the nanosecond (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES


def measure(containers: int, threads: int, seconds: float) -> dict[str, Any]:
    """The line, and under "parts" the same by process."""
    with _watched(containers, threads) as pids:
        time.sleep(_WARM_UP_S)
        costs_s: dict[str, list[float]] = {name: [] for name in pids}
        before_s = {name: cpu_s(pid) for name, pid in pids.items()}
        began_s = due_s = time.monotonic()
        while due_s < began_s + seconds:
            due_s += 1.0
            time.sleep(max(0.0, due_s - time.monotonic()))
            now_s = {name: cpu_s(pid) for name, pid in pids.items()}
            for name in pids:
                costs_s[name].append(now_s[name] - before_s[name])
            before_s = now_s
        elapsed_s = time.monotonic() - began_s
        both_s = [sum(each) for each in zip(*costs_s.values(), strict=True)]
        rss = {name: rss_bytes(pid) for name, pid in pids.items()}
        syscalls = {name: round(_syscalls(pid)) for name, pid in pids.items()}
    return {
        "containers": containers,
        "cpu_cores": round(sum(both_s) / elapsed_s, 4),
        "rss_bytes": max(rss.values()),
        "tick_ms_p50": _quantile_ms(both_s, 0.5),
        "tick_ms_p99": _quantile_ms(both_s, 0.99),
        "syscalls_per_tick": sum(syscalls.values()),
        "parts": {
            name: {
                "cpu_cores": round(sum(costs_s[name]) / elapsed_s, 4),
                "rss_bytes": rss[name],
                "tick_ms_p50": _quantile_ms(costs_s[name], 0.5),
                "tick_ms_p99": _quantile_ms(costs_s[name], 0.99),
                "syscalls_per_tick": syscalls[name],
            }
            for name in pids
        },
    }


def _quantile_ms(costs_s: list[float], share: float) -> float:
    return round(sorted(costs_s)[int(len(costs_s) * share)] * 1e3, 2)


def _syscalls(pid: int) -> float:
    """System calls of one process, a second."""
    if shutil.which("strace") is None:
        print("no strace: only reads and writes are counted", file=sys.stderr)
        before = _reads_and_writes(pid)
        time.sleep(_SYSCALLS_OVER_S)
        return (_reads_and_writes(pid) - before) / _SYSCALLS_OVER_S
    with tempfile.NamedTemporaryFile() as table:
        strace = subprocess.Popen(
            ["strace", "-c", "-f", "-o", table.name, "-p", str(pid)], stderr=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(_SYSCALLS_OVER_S)
        strace.send_signal(signal.SIGINT)
        strace.wait(10.0)
        # Percent, seconds, microseconds a call, calls, errors if any, "total".
        total = Path(table.name).read_text().splitlines()[-1].split()
    assert total[-1] == "total", "strace may not trace here"
    return int(total[3]) / _SYSCALLS_OVER_S


def _reads_and_writes(pid: int) -> int:
    return sum(map(int, re.findall(r"sysc[rw]: (\d+)", Path(f"/proc/{pid}/io").read_text())))


@contextlib.contextmanager
def _watched(containers: int, threads: int) -> Iterator[dict[str, int]]:
    """The two processes, by name, at work."""
    tasks = containers // 2
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="serenity-bench-")))
        agent = FakeAgent()
        stack.callback(agent.stop)
        executor = stack.enter_context(_executor(agent, folder))
        wait_until(agent.subscribes, "the executor's subscription")
        found = stack.enter_context(production(containers - tasks, threads))
        ours = BestEffort(agent.container_id, executor, FRAMEWORK_ID, EXECUTOR_ID, tasks * _TASK_CPUS)
        node = NodeAgent(AGENT_ID, found, ours)
        stack.callback(node.stop)
        estimator, get = stack.enter_context(_estimator(node.address, folder))
        # If they were launched sooner, the tasks would hold more than the slack, and be limited at each tick.
        wait_until(lambda: json.loads(get("/slack") or "{}").get("free", {}).get("cpus", 0) > 0, "slack for the tasks")
        for number in range(tasks):
            agent.launch(f"t{number}", *program(threads), cpus=_TASK_CPUS, mem_bytes=1 << 28)
        for number in range(tasks):
            agent.wait_for(f"t{number}", "TASK_RUNNING", within_s=60.0)
        rows = {f'{{role="production"}} {containers - tasks}', f'{{role="best_effort"}} {tasks}'}
        wait_until(lambda: all(each in get("/metrics") for each in rows), "frames of all containers")
        yield {"estimator": estimator, "executor": executor}


@contextlib.contextmanager
def _executor(agent: FakeAgent, folder: Path) -> Iterator[int]:
    environment = {
        "MESOS_AGENT_ENDPOINT": agent.address,
        "MESOS_FRAMEWORK_ID": FRAMEWORK_ID,
        "MESOS_EXECUTOR_ID": EXECUTOR_ID,
        "MESOS_SLAVE_ID": AGENT_ID,
        "MESOS_SANDBOX": str(folder),
        "MESOS_DIRECTORY": f"/nowhere/runs/{agent.container_id}",
        "SERENITY_RUN_DIR": str(folder),
        "SERENITY_EXECUTOR_ALLOW_ROOT": "true",
    }
    with _process("serenity.executor", (), environment, folder) as pid:
        yield pid


@contextlib.contextmanager
def _estimator(agent: str, folder: Path) -> Iterator[tuple[int, Callable[[str], str]]]:
    """Its pid, and a function that gets what it serves at a path."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        listen = f"127.0.0.1:{free.getsockname()[1]}"
    arguments = ("--agent", agent, "--listen", listen, "--run-dir", str(folder), "--state-dir", str(folder / "state"))

    def get(path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://{listen}{path}", timeout=5.0) as answer:
                return str(answer.read(), "utf-8")
        except OSError:
            return ""  # It does not listen yet.

    with _process("serenity.estimator", arguments, {}, folder) as pid:
        yield pid, get


@contextlib.contextmanager
def _process(module: str, arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path) -> Iterator[int]:
    with (folder / f"{module}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            env={"PATH": os.environ["PATH"], **environment},
            cwd=folder,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process.pid
    except BaseException:
        sys.stderr.writelines((folder / f"{module}.log").read_text().splitlines(keepends=True)[-5:])
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(ready: Callable[[], object], what: str, within_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not ready():
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{what}: not within {within_s:.0f} s")
        time.sleep(0.1)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--containers", type=int, default=100)
    options.add_argument("--threads", type=int, default=20, help="a container")
    options.add_argument("--seconds", type=float, default=60.0, help="that are measured")
    options.add_argument("--parts", action="store_true", help="each process by itself, too")
    chosen = options.parse_args()
    found = measure(chosen.containers, chosen.threads, chosen.seconds)
    parts = found.pop("parts")
    print(json.dumps(found | ({"parts": parts} if chosen.parts else {})))


if __name__ == "__main__":
    main()
