"""A real executor process, started as an agent starts it, against a made-up agent and a made-up estimator."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from serenity.executor.tasks import processes
from tests.executor.made_up_agent import AGENT_ID, EXECUTOR_ID, FRAMEWORK_ID, FakeAgent, FakeEstimator
from tests.polling import eventually


class OtherUser:
    """Somebody without any rights, and a Python that he may run: the tests' own can be in root's home."""

    uid = 65534

    def __init__(self) -> None:
        """Raises FileNotFoundError when there is no such Python."""
        self.environment = {"PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
        self.switch: dict[str, Any] = {"user": self.uid, "group": self.uid, "extra_groups": ()}
        for python in (sys.executable, f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"):
            with contextlib.suppress(OSError):
                try_it = [python, "-c", "import serenity.executor.main"]
                if subprocess.run(try_it, env=self.environment, check=False, **self.switch).returncode == 0:
                    self.python = python
                    return
        raise FileNotFoundError("no Python here that others than root may run")


class RunningExecutor:
    """One executor process; `sandbox` is its own, `agent` the agent that it talks to."""

    def __init__(
        self,
        agent: FakeAgent,
        sandbox: Path,
        run_dir: Path,
        other: OtherUser | None = None,
        more: Mapping[str, str] = types.MappingProxyType({}),
        **settings: Any,
    ) -> None:
        """`other`: whom it runs as, if not as the test; `more`: of its environment."""
        self.agent = agent
        self.sandbox = sandbox
        self.log = sandbox / "executor.log"
        environment = {
            "PATH": os.environ["PATH"],
            "MESOS_AGENT_ENDPOINT": agent.address,
            "MESOS_FRAMEWORK_ID": FRAMEWORK_ID,
            "MESOS_EXECUTOR_ID": EXECUTOR_ID,
            "MESOS_SLAVE_ID": AGENT_ID,
            "MESOS_SANDBOX": str(sandbox),
            "MESOS_DIRECTORY": f"/nowhere/runs/{agent.container_id}",
            "MESOS_CHECKPOINT": "1",
            "MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD": agent.grace,
            "MESOS_EXECUTOR_AUTHENTICATION_TOKEN": "secret-token",
            "SERENITY_RUN_DIR": str(run_dir),
            # At the lowest priority nothing would ever happen on a machine that is busy with other tests.
            "SERENITY_EXECUTOR_RUNG0": "false",
            "SERENITY_EXECUTOR_ALLOW_ROOT": "true",
            **{f"SERENITY_EXECUTOR_{name.upper()}": str(value).lower() for name, value in settings.items()},
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [other.python if other else sys.executable, "-P", "-m", "serenity.executor"],
                cwd=sandbox,
                env={**environment, **more, **(other.environment if other else {})},
                stderr=log,
                start_new_session=True,
                **(other.switch if other else {}),
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def cgroups(self) -> list[Path]:
        """Those of this executor that exist."""
        return self.cgroups_of(self.agent.container_id)

    @staticmethod
    def cgroups_of(container_id: str) -> list[Path]:
        walked = os.walk("/sys/fs/cgroup")  # Which others may be removing; `glob` would object.
        ours = ((folder, name) for folder, names, _ in walked for name in names if name.startswith("serenity-"))
        return [Path(folder, name) for folder, name in ours if container_id in name]

    def output(self, task_id: str, name: str = "stdout") -> str:
        return (self.sandbox / "tasks" / task_id / name).read_text()

    def wait_for_output(self, task_id: str, text: str) -> str:
        def written() -> str | None:
            path = self.sandbox / "tasks" / task_id / "stdout"
            found = path.read_text() if path.exists() else ""
            return found if text in found else None

        return str(eventually(written, f"{text!r} in the output of {task_id}"))

    def wait(self, within_s: float = 15.0) -> int:
        return self.process.wait(within_s)

    def processes_of(self, marker: str) -> list[int]:
        """Living processes anywhere on the machine with `marker` in their command line."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    status = processes.read(int(entry.name))
                    if marker.encode() in (entry / "cmdline").read_bytes() and status is not None and status.alive:
                        found.append(int(entry.name))
        return found

    def start_over(self) -> None:
        """Ends all tasks, and forgets them."""
        ended = ("TASK_FINISHED", "TASK_FAILED", "TASK_KILLED")
        for task in self.agent.launched:
            if not any(each["state"] in ended for each in self.agent.updates(task)):
                self.agent.kill(task, grace_s=0.0)
                self.agent.wait_for(task, *ended)
        self.agent.calls.clear()
        self.agent.launched.clear()
        for name in ("tasks", "journal.jsonl"):
            path = self.sandbox / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture
def defect(tmp_path: Path) -> dict[str, str]:
    """An environment in which an executor fails when it is told to kill the task ``defect``."""
    (tmp_path / "sitecustomize.py").write_text(
        "from serenity.executor.executor import Executor\n"
        "kill = Executor._kill\n"
        "def fails(self, event):\n"
        "    if event.task_id == 'defect':\n"
        "        raise RuntimeError('made up')\n"
        "    kill(self, event)\n"
        "Executor._kill = fails\n"
    )
    return {"PYTHONPATH": str(tmp_path)}


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    made = FakeAgent()
    yield made
    made.stop()


@pytest.fixture
def start(agent: FakeAgent, tmp_path: Path) -> Iterator[Callable[..., RunningExecutor]]:
    """Starts executors with settings as keywords; ends them after the test."""
    started: list[RunningExecutor] = []

    def start_one(folder: Path = tmp_path, **settings: Any) -> RunningExecutor:
        sandbox, run_dir = folder / "sandbox", folder / "run"
        for each in (sandbox, run_dir):
            each.mkdir(exist_ok=True)
        started.append(RunningExecutor(agent, sandbox, run_dir, **settings))
        return started[-1]

    yield start_one
    for each in started:
        each.stop()
        print(each.log.read_text())  # Shown when the test fails.


@pytest.fixture(scope="module")
def open_folder() -> Iterator[Path]:
    """One that other users get through to, as they do not to pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="serenity-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningExecutor]:
    """One executor, with QoS off, for all tests of a module; see `start_over`."""
    agent = FakeAgent()
    made = RunningExecutor(agent, tmp_path_factory.mktemp("sandbox"), tmp_path_factory.mktemp("run"), qos=False)
    yield made
    made.stop()
    agent.stop()


@pytest.fixture
def executor(start: Callable[..., RunningExecutor]) -> RunningExecutor:
    """One with QoS off: tasks and nothing else."""
    return start(qos=False)


@pytest.fixture
def estimator(tmp_path: Path) -> Iterator[FakeEstimator]:
    run_dir = tmp_path / "run"
    run_dir.mkdir(exist_ok=True)
    made = FakeEstimator(run_dir)
    yield made
    made.stop()


@pytest.fixture
def labels() -> Callable[[dict[str, Any]], dict[str, str]]:
    return lambda status: {each["key"]: each["value"] for each in status.get("labels", {}).get("labels", [])}


@pytest.fixture
def marker() -> str:
    """Some text that no other process on the machine has in its command line."""
    return f"86{os.getpid()}{time.monotonic_ns() % 10**9}"
