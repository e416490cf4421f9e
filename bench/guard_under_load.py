"""Whether the guard keeps its second where production and best-effort want every core: one JSON line.

    python -m bench.guard_under_load [--seconds 60]

A real executor process in a cpu cgroup with a best-effort container's shares, as Mesos makes it
(10 a cpu), runs a task that burns on every core, beside production that does so too, with 1024
shares a cpu.  An agent and an estimator that have nothing behind them send it a frame a second.

`tick_gap_p99_s`: between one lease on the valve and the next, which the executor says at each tick
of a contention.  `throttle_after_onset_s`: from the first frame that shows the harm to the quota
in force on the task's cgroup.  `moved`: whether the executor could leave its container's cpu
cgroup.  Without root or cgroup v1 nothing has shares, and `moved` is false.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from serenity.estimator.node_server import NodeServer
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container, Frame, Indicator, Node
from serenity.wire.messages import node
from tests.executor.conftest import AGENT_ID, EXECUTOR_ID, FRAMEWORK_ID, FakeAgent

_CPU = Path("/sys/fs/cgroup/cpu")
_SHARES_A_CPU, _BE_SHARES_A_CPU = 1024, 10
_BURN = "import os\nfor _ in range({n}): os.fork() or exec('while True: pass')\nwhile True: pass"
_CALM_FRAMES = 5
WEB = Container(
    "web-c1", PRODUCTION, "web", 1.0, 1e9, "prod", "web.e", "web.1", "web-c1", Indicator("ops", "1/s", "higher")
)


@dataclass
class Cgroups:
    """Production's and the best-effort container's cpu cgroups; None where none can be made."""

    production: Path | None = None
    best_effort: Path | None = None
    made: list[Path] = field(default_factory=list)

    def make(self, container: str) -> None:
        cpus = os.cpu_count() or 1
        for name, folder, shares in (
            ("production", f"bench-{os.getpid()}", _SHARES_A_CPU * cpus),
            ("best_effort", container, _BE_SHARES_A_CPU * cpus),
        ):
            path = _CPU / folder
            try:
                path.mkdir()
                self.made.append(path)
                (path / "cpu.shares").write_text(str(shares))
            except OSError:
                return
            setattr(self, name, path)

    def remove(self) -> None:
        deadline_s = time.monotonic() + 5.0
        for path in self.made:
            for below in [*path.glob("*/"), path]:
                while below.exists() and time.monotonic() < deadline_s:
                    with contextlib.suppress(OSError):
                        below.rmdir()
                    time.sleep(0.02)


def started(argv: list[str], cgroup: Path | None, **more: object) -> subprocess.Popen[bytes]:
    if cgroup is not None:
        argv = ["sh", "-c", f'echo $$ > {cgroup}/cgroup.procs; exec "$@"', "sh", *argv]
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        argv, start_new_session=True, preexec_fn=lambda: os.setpriority(os.PRIO_PROCESS, 0, 0), **more
    )


class Estimator:
    """Sends a frame a second; from `hurts_s` (monotonic) on the frames show harm."""

    def __init__(self, run_dir: Path) -> None:
        self.leases_s: list[float] = []
        self.hurts_s: float | None = None
        self.hurt = threading.Event()
        self._tasks: tuple[str, ...] = ()
        self._server = NodeServer(node.socket_path(AGENT_ID, run_dir), self, lambda: None)
        self._server.start()

    @property
    def knows_a_task(self) -> bool:
        return bool(self._tasks)

    def run(self, until_s: float) -> None:
        due_s = time.monotonic()
        while due_s < until_s:
            due_s += 1.0
            time.sleep(max(0.0, due_s - time.monotonic()))
            frame = _frame(time.time(), self.hurt.is_set(), self._tasks)
            if self.hurt.is_set() and self.hurts_s is None:
                self.hurts_s = time.monotonic()
            self._server.publish(node.encode_line(node.Sample(frame=frame.to_json())))

    def stop(self) -> None:
        self._server.stop()

    def greeting(self) -> bytes:
        now = time.time()
        past = tuple(_frame(now - 60 + n, False, ()).to_json() for n in range(60))
        welcome = node.Welcome(agent_id=AGENT_ID, hostname="h7", interval_s=1.0)
        return node.encode_line(welcome) + node.encode_line(node.History(frames=past))

    def tasks(self, hello: node.Hello, tasks: node.Tasks) -> None:
        self._tasks = tuple(each.task_id for each in tasks.tasks)

    def lease(self, lease: node.Lease) -> None:
        self.leases_s.append(time.monotonic())

    def gone(self, hello: node.Hello) -> None:
        """Comes only at the end."""

    def release(self, release: node.Release) -> bool:
        """Would come at the end of the contention, which does not end."""
        return False

    def holders(self) -> node.Leases:
        return node.Leases(leases=())


def _frame(t: float, hurt: bool, tasks: tuple[str, ...]) -> Frame:
    rows = (WEB, *(Container(each, BEST_EFFORT, "job", 0.5, 1e8, task=each) for each in tasks))
    granted = 0.4 if hurt else 0.95
    columns = {
        "cpu": np.array([0.8, *(1.5 if hurt else 0.3 for _ in tasks)]),
        "run_delay": np.array([0.8 / granted - 0.8, *(0.1 for _ in tasks)]),
        "sli": np.array([40.0 if hurt else 100.0, *(np.nan for _ in tasks)]),
    }
    return Frame(t, rows, columns, Node(cpus=4.0, mem_bytes=8e9))


@contextlib.contextmanager
def _executor(agent: FakeAgent, folder: Path, cgroup: Path | None) -> Iterator[Path]:
    """Runs an executor; yields the path of its log."""
    environment = {
        "PATH": os.environ["PATH"],
        "MESOS_AGENT_ENDPOINT": agent.address,
        "MESOS_FRAMEWORK_ID": FRAMEWORK_ID,
        "MESOS_EXECUTOR_ID": EXECUTOR_ID,
        "MESOS_SLAVE_ID": AGENT_ID,
        "MESOS_SANDBOX": str(folder),
        "MESOS_DIRECTORY": f"/nowhere/runs/{agent.container_id}",
        "SERENITY_RUN_DIR": str(folder),
        "SERENITY_EXECUTOR_RUNG0": "false",
        "SERENITY_EXECUTOR_ALLOW_ROOT": "true",
        "SERENITY_EXECUTOR_WATCH_S": "3600",  # One throttle, and the load goes on.
    }
    log = folder / "executor.log"
    with log.open("wb") as out:
        argv = [sys.executable, "-P", "-m", "serenity.executor"]
        process = started(argv, cgroup, env=environment, cwd=folder, stderr=out)
    try:
        yield log
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(ready: object, what: str, within_s: float = 60.0) -> None:
    deadline_s = time.monotonic() + within_s
    while not ready():  # type: ignore[operator]
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{what}: not within {within_s:.0f} s")
        time.sleep(0.02)


def _in_force(cgroup: Path | None, agent: FakeAgent) -> bool:
    """Whether some task's cgroup has a quota; without such cgroups, whether the executor has reported a throttle."""
    quotas = list(cgroup.glob("*/cpu.cfs_quota_us")) if cgroup is not None else []
    if quotas:
        return any(int(each.read_text()) > 0 for each in quotas)
    return any(each.action == "throttle" for each in agent.corrections())


def measure(seconds: float) -> dict[str, float | bool | None]:
    agent, cgroups, burners = FakeAgent(), Cgroups(), []
    cores = os.cpu_count() or 1
    burn = [sys.executable, "-S", "-c", _BURN.format(n=2 * cores - 1)]
    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory(prefix="serenity-bench-") as named:
        folder = Path(named)
        stack.callback(cgroups.remove)
        stack.callback(agent.stop)
        cgroups.make(agent.container_id)
        estimator = Estimator(folder)
        stack.callback(estimator.stop)
        log = stack.enter_context(_executor(agent, folder, cgroups.best_effort))
        _wait(agent.subscribes, "the executor's subscription")
        agent.launch("burner", *burn)
        _wait(lambda: estimator.knows_a_task, "the executor's task")
        burners.append(started(burn, cgroups.production))
        stack.callback(lambda: [os.killpg(each.pid, signal.SIGKILL) for each in burners])
        end_s = time.monotonic() + _CALM_FRAMES + seconds
        frames = threading.Thread(target=estimator.run, args=(end_s,), daemon=True)
        frames.start()
        time.sleep(_CALM_FRAMES)
        estimator.hurt.set()
        _wait(lambda: estimator.hurts_s is not None, "the first bad frame")
        _wait(lambda: _in_force(cgroups.best_effort, agent), "the throttle")
        throttled_s = time.monotonic()
        frames.join()
        gaps = np.diff(np.array(estimator.leases_s))
        moved = "in cpu cgroup" in log.read_text()
    assert estimator.hurts_s is not None
    return {
        "tick_gap_p99_s": round(float(np.quantile(gaps, 0.99)), 3) if len(gaps) else None,
        "throttle_after_onset_s": round(throttled_s - estimator.hurts_s, 3),
        "ticks": len(estimator.leases_s),
        "moved": moved,
        "cpus": cores,
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=60.0, help="of contention")
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)  # The measuring process must not wait for the measured ones.
    print(json.dumps(measure(options.parse_args().seconds)))


if __name__ == "__main__":
    main()
