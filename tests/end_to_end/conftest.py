"""The whole of Serenity on one Mesos, as a user has it: daemons as processes, jobs by the command line."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from serenity.cli.demo.production import Production, Service
from serenity.cli.stack import Stack, StackOptions, WorkFolder, agent_resources
from serenity.localmesos.cluster import ClusterOptions, find_mesos
from serenity.wire.http import Endpoint, get_json

CPUS = 2.0
MEM_MB = 4096.0


def eventually(what: str, ready: Callable[[], Any], within_s: float = 30.0) -> Any:
    """The first true value of `ready`; fails with `what` when there is none in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if value := ready():
            return value
        time.sleep(0.1)
    pytest.fail(f"not within {within_s:.0f} s: {what}")


class Running:
    """A stack with an idle production task, and `serenity` for it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    def serenity(self, *arguments: str, code: int | None = 0, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Runs one command; `code`: the exit code that is expected, None for any."""
        environment = {**os.environ, "SERENITY_URL": self.stack.url, "HOME": "/nonexistent"}
        done = subprocess.run(
            [sys.executable, "-m", "serenity", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            input=stdin,
            timeout=90,
        )
        assert "Traceback" not in done.stderr, done.stderr
        if code is not None:
            assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def submit(self, *arguments: str) -> str:
        return self.serenity("submit", *arguments).stdout.strip()

    def show(self, job: str) -> dict[str, Any]:
        detail: dict[str, Any] = json.loads(self.serenity("show", job, "--json").stdout)
        return detail

    def attempts(self, job: str, state: str | None = None) -> list[dict[str, Any]]:
        return [each for each in self.show(job)["attempts"] if state in (None, each["state"])]

    def wait_for_running(self, job: str, count: int = 1) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = eventually(
            f"{count} running instances of {job}",
            lambda: len(now := self.attempts(job, "running")) == count and now,
        )
        return found

    def slack_cpus(self) -> float:
        """What the agent says it has of revocable cpus."""
        state = get_json(Endpoint.parse(self.stack.cluster.agent), "/state")
        return float(state["resources"].get("cpus_revocable", 0.0))

    def daemon_pid(self, name: str) -> int:
        pid = next(each.pid for each in self.stack.daemons if each.name == name)
        assert pid is not None
        return pid

    def restart(self, name: str) -> None:
        """Starts a daemon again that has ended."""
        daemon = next(each for each in self.stack.daemons if each.name == name)
        eventually(f"the {name}'s end", daemon.ended, 5.0)
        daemon.start()

    def executor_processes(self) -> list[psutil.Process]:
        run_dir = str(self.stack.options.run_dir)
        return [
            each
            for each in psutil.process_iter()
            if _command(each)[-2:] == ["-m", "serenity.executor"] and _environment(each, "SERENITY_RUN_DIR") == run_dir
        ]


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return []


def _environment(process: psutil.Process, name: str) -> str | None:
    try:
        return process.environ().get(name)
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return None


@contextmanager
def running_stack(mesos_bin: Path | None, services: list[Service], **environment: str) -> Iterator[Running]:
    # Not pytest's folder: its path is too long for a Unix socket.
    with WorkFolder(None) as work_dir:
        cluster = ClusterOptions(work_dir, mesos_bin, resources=agent_resources(CPUS, MEM_MB))
        options = StackOptions(cluster, work_dir / "run", environment=environment)
        with Stack(options) as stack:
            production = Production(stack.cluster.master, pwd.getpwuid(os.geteuid()).pw_name, services)
            try:
                production.start()
                yield Running(stack)
            finally:
                production.stop()


def mesos_bin_of(kind: str) -> Path | None:
    if kind == "localmesos":
        return None
    found = find_mesos(None)
    if found is None:
        pytest.skip("no mesos-master and mesos-agent: put them on PATH, or their folder into SERENITY_MESOS_BIN")
    return found


IDLE = Service("idle", ("sleep", "3600"), CPUS * 0.75, MEM_MB * 0.75)


@pytest.fixture(scope="module", params=["localmesos", pytest.param("real", marks=pytest.mark.real_mesos)])
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running_stack(mesos_bin_of(request.param), [IDLE]) as stack:
        eventually("slack", lambda: stack.slack_cpus() > 0.5, 30.0)
        yield stack
