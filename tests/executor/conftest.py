"""A real executor process, started as an agent starts it, against a made-up agent and a made-up estimator.

Both speak their real protocols over real sockets, and have nothing behind them.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
import uuid
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from serenity.executor.tasks import processes
from serenity.qos.frame import Frame
from serenity.wire.messages import from_executor, node
from serenity.wire.messages.corrections import Correction, Outcome
from serenity.wire.messages.statistics import Statistics
from serenity.wire.messages.task_spec import TaskSpec
from serenity.wire.transport import recordio
from tests.polling import eventually

AGENT_ID = "agent-S0"
FRAMEWORK_ID, EXECUTOR_ID = "framework-0001", "serenity-be"


class FakeAgent:
    """Acknowledges every update, unless `acknowledging` is off.  Everything said to it is in `calls`."""

    def __init__(self, capabilities: tuple[str, ...] = ("TASK_KILLING_STATE",)) -> None:
        self.grace = "2500ms"  # For an executor's shutdown.
        self.acknowledging = True
        self.container_id = str(uuid.uuid4())
        self.launched: set[str] = set()
        self.calls: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._capabilities = capabilities
        agent = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if body["type"] == "SUBSCRIBE":
                    self._stream(body)
                    return
                agent._take(body)
                self.send_response(202)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def _stream(self, subscribe: dict[str, Any]) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.close_connection = True
                agent._take(subscribe)
                event: dict[str, Any] | None = agent._subscribed()
                while event is not None:
                    self.wfile.write(recordio.encode(json.dumps(event).encode()))
                    event = agent._events.get()

            def log_message(self, *_arguments: Any) -> None:
                """Silence."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._events.put(None)
        self._server.shutdown()
        self._server.server_close()

    # -- what it says ------------------------------------------------------------------------

    def say(self, event: dict[str, Any]) -> None:
        self._events.put(event)

    def drop_stream(self) -> None:
        self._events.put(None)

    def launch(self, task_id: str, *argv: str, data: bytes | None = None, **spec: Any) -> None:
        made = {"job_id": "j1", "job_name": "job", "instance": 0, "attempt": 1, "cpus": 0.5, "mem_bytes": 1 << 26}
        self.launched.add(task_id)
        encoded = data if data is not None else TaskSpec(argv=argv, **{**made, **spec}).encode()
        task = {
            "name": "job",
            "task_id": {"value": task_id},
            "agent_id": {"value": AGENT_ID},
            "resources": [],
            "data": base64.b64encode(encoded).decode(),
        }
        self.say({"type": "LAUNCH", "launch": {"task": task}})

    def kill(self, task_id: str, grace_s: float | None = None) -> None:
        kill: dict[str, Any] = {"task_id": {"value": task_id}}
        if grace_s is not None:
            kill["kill_policy"] = {"grace_period": {"nanoseconds": int(grace_s * 1e9)}}
        self.say({"type": "KILL", "kill": kill})

    def shutdown(self) -> None:
        self.say({"type": "SHUTDOWN"})

    # -- what it hears -------------------------------------------------------------------------

    def updates(self, task_id: str | None = None) -> list[dict[str, Any]]:
        statuses = [call["update"]["status"] for call in list(self.calls) if call["type"] == "UPDATE"]
        return [each for each in statuses if task_id in (None, each["task_id"]["value"])]

    def corrections(self) -> list[Correction]:
        return [each for each in self._messages() if isinstance(each, Correction)]

    def outcomes(self) -> list[Outcome]:
        return [each for each in self._messages() if isinstance(each, Outcome)]

    def statistics(self) -> list[Statistics]:
        return [each for each in self._messages() if isinstance(each, Statistics)]

    def _messages(self) -> list[from_executor.FromExecutor]:
        sent = [call["message"]["data"] for call in list(self.calls) if call["type"] == "MESSAGE"]
        return [from_executor.decode(each) for each in sent]

    def subscribes(self) -> list[dict[str, Any]]:
        return [call["subscribe"] for call in list(self.calls) if call["type"] == "SUBSCRIBE"]

    def wait_for(self, task_id: str, *states: str, within_s: float = 15.0) -> dict[str, Any]:
        """The task's first update with one of these states."""
        deadline = time.monotonic() + within_s
        with self._changed:
            while True:
                found = [each for each in self.updates(task_id) if each["state"] in states]
                if found:
                    return found[0]
                left = deadline - time.monotonic()
                if left <= 0:
                    seen = [(each["state"], each.get("message")) for each in self.updates(task_id)]
                    raise AssertionError(f"{task_id} is not {states} after {within_s} s; it was {seen}")
                self._changed.wait(left)

    def _take(self, call: dict[str, Any]) -> None:
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()
        if call["type"] == "UPDATE" and self.acknowledging:
            status = call["update"]["status"]
            self.say({"type": "ACKNOWLEDGED", "acknowledged": {"task_id": status["task_id"], "uuid": status["uuid"]}})

    def _subscribed(self) -> dict[str, Any]:
        info = {
            "executor_info": {"executor_id": {"value": EXECUTOR_ID}},
            "framework_info": {
                "id": {"value": FRAMEWORK_ID},
                "capabilities": [{"type": each} for each in self._capabilities],
                "checkpoint": True,
            },
            "agent_info": {"id": {"value": AGENT_ID}, "hostname": "h7"},
            "container_id": {"value": self.container_id},
        }
        return {"type": "SUBSCRIBED", "subscribed": info}


class FakeEstimator:
    """Says what the test tells it to, and keeps what the executor has said."""

    def __init__(self, directory: Path) -> None:
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(node.socket_path(AGENT_ID, directory)))
        self._server.listen()
        self._peer: socket.socket | None = None
        self.history: tuple[dict[str, Any], ...] = ()
        self.heard: list[node.ToEstimator] = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def tasks(self) -> dict[str, node.TaskOnNode]:
        """What the executor declared last."""
        said = [each for each in list(self.heard) if isinstance(each, node.Tasks)]
        return {each.task_id: each for each in said[-1].tasks} if said else {}

    def send(self, frame: Frame, over: node.Overcommitment = node.Overcommitment()) -> None:  # noqa: B008
        assert self._peer is not None, "no executor has come"
        with contextlib.suppress(OSError):  # It is ending.
            self._peer.sendall(node.encode_line(node.Sample(frame=frame.to_json(), overcommitment=over)))

    def hang_up(self) -> None:
        assert self._peer is not None
        self._peer.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        self._server.close()
        if self._peer is not None:
            self._peer.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._server.accept()
                welcome = node.Welcome(agent_id=AGENT_ID, hostname="h7", interval_s=1.0)
                peer.sendall(node.encode_line(welcome) + node.encode_line(node.History(frames=self.history)))
                self._peer = peer
                lines = node.LineReader()
                while chunk := peer.recv(65536):
                    self.heard += map(node.decode_to_estimator, lines.feed(chunk))


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
