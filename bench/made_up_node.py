"""A node for benchmarks: production containers in real cgroups, and an agent that reports them.

The agent answers what an estimator asks, and takes its slack; nothing is behind it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from serenity.qos.sources.cgroups import V2, Mounts
from serenity.wire.transport import recordio

# The cgroups v1 controllers of a Mesos agent with the usual isolators; V2 for a machine that has only cgroups v2.
_CONTROLLERS = ("cpu", "cpuacct", "memory", "blkio", "freezer", "perf_event", V2)
# Threads that wake up once a second, as those of a server without much load.
_PROGRAM = """
import threading, time
def live():
    while True:
        time.sleep(1.0)
        sum(range(500))
threading.stack_size(1 << 16)
for _ in range({threads} - 1):
    threading.Thread(target=live, daemon=True).start()
live()
"""


def program(threads: int) -> list[str]:
    """A command that runs so many threads."""
    return [sys.executable, "-I", "-S", "-c", _PROGRAM.format(threads=threads)]


@dataclass(frozen=True, slots=True)
class Production:
    container_id: str
    pid: int


@contextlib.contextmanager
def production(count: int, threads: int) -> Iterator[list[Production]]:
    """Runs `count` containers, each a process in a cgroup of its own in each hierarchy that may be written."""
    parents = _parents()
    processes: list[subprocess.Popen[bytes]] = []
    made: list[Production] = []
    try:
        for _ in range(count):
            name = str(uuid.uuid4())
            processes.append(subprocess.Popen(program(threads)))
            made.append(Production(name, processes[-1].pid))
            for parent in parents:
                (parent / name).mkdir()
                (parent / name / "cgroup.procs").write_text(str(processes[-1].pid))
        yield made
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
        for parent in parents:
            for folder in (*(parent / each.container_id for each in made), parent):
                _remove(folder)


def _parents() -> list[Path]:
    """A cgroup of ours in each hierarchy; none where we may not make one: then a container is just a process."""
    mounts, name = Mounts.read(), f"/serenity-bench-{os.getpid()}"
    parents = []
    for folder in dict.fromkeys(mounts.folder(controller, name) for controller in _CONTROLLERS):
        if folder is not None:
            with contextlib.suppress(OSError):  # Not ours to write.
                folder.mkdir()
                parents.append(folder)
    return parents


def _remove(folder: Path) -> None:
    """Tries for a while: a cgroup whose last process has just ended is busy for a moment."""
    deadline_s = time.monotonic() + 10
    while folder.exists():
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class BestEffort:
    """The container of the executor that the estimator shall find."""

    container_id: str
    pid: int
    framework_id: str
    executor_id: str
    cpus: float


class NodeAgent:
    """An agent that reports `containers` and one best-effort executor; `launch_s` publishes as for a launch."""

    def __init__(self, agent_id: str, containers: list[Production], best_effort: BestEffort) -> None:
        said: dict[str, Any] = {
            "/version": {"version": "1.11.0"},
            "/flags": {"flags": {}},
            "/state": _state(agent_id, containers, best_effort),
            "/containers": _pids(containers, best_effort),
        }
        # Encoded once: it is this process that takes the time of launches, and they are not to wait for its own JSON.
        answers = {path: json.dumps(each).encode() for path, each in said.items()}
        self._stopping = threading.Event()
        self._provider = _ProviderStream()
        shared = {"answers": answers, "stopping": self._stopping, "provider": self._provider}
        handler = type("Handler", (_Handler,), shared)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def launch_s(self, timeout_s: float = 30.0) -> float:
        """How long the estimator takes to let a launch on its slack go on."""
        return self._provider.publish_s(timeout_s)

    def stop(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()


class _ProviderStream:
    """The events of the resource provider that has subscribed."""

    def __init__(self) -> None:
        self._write: Callable[[bytes], object] | None = None
        self._answered: dict[str, threading.Event] = {}

    def subscribed(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self.event({"type": "SUBSCRIBED", "subscribed": {"provider_id": {"value": str(uuid.uuid4())}}})

    def event(self, event: Mapping[str, object]) -> None:
        assert self._write is not None, "nobody has subscribed"
        self._write(recordio.encode(json.dumps(event).encode()))

    def publish_s(self, timeout_s: float) -> float:
        name = str(uuid.uuid4())
        answered = self._answered[name] = threading.Event()
        before_s = time.monotonic()
        self.event({"type": "PUBLISH_RESOURCES", "publish_resources": {"uuid": {"value": name}, "resources": []}})
        if not answered.wait(timeout_s):
            raise TimeoutError(f"a launch was not answered within {timeout_s:.0f} s")
        return time.monotonic() - before_s

    def answered(self, status: Mapping[str, Any]) -> None:
        assert status["status"] == "OK", status
        self._answered.pop(status["uuid"]["value"]).set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    answers: Mapping[str, bytes]
    stopping: threading.Event
    provider: _ProviderStream

    def do_GET(self) -> None:
        body = self.answers.get(self.path, b"")
        self.send_response(200 if body else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if call["type"] == "UPDATE_PUBLISH_RESOURCES_STATUS":
            self.provider.answered(call["update_publish_resources_status"])
        if call["type"] != "SUBSCRIBE":
            self.send_response(202)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Mesos-Stream-Id", "1")
        self.end_headers()
        self.provider.subscribed(self.wfile.write)
        self.close_connection = True
        self.stopping.wait()

    def log_message(self, *_arguments: Any) -> None:
        """Silence."""


def _state(agent_id: str, containers: list[Production], best_effort: BestEffort) -> dict[str, Any]:
    """As Mesos' ``/state``, with the fields that are read, and with about as much text for each container."""
    executors = [
        {
            "id": f"web.{number}",
            "name": "Command Executor (Task: web)",
            "source": f"web.{number}",
            "container": each.container_id,
            "directory": f"/var/lib/mesos/slaves/{agent_id}/frameworks/prod/executors/web/runs/{each.container_id}",
            "resources": {"cpus": 1.0, "mem": 256.0, "disk": 0, "gpus": 0, "ports": "[31000-31000]"},
            "tasks": [_task(agent_id, number)],
            "queued_tasks": [],
            "completed_tasks": [],
        }
        for number, each in enumerate(containers)
    ]
    revocable = {"cpus": 0, "mem": 32, "cpus_revocable": best_effort.cpus, "mem_revocable": 1024}
    ours = {"id": best_effort.executor_id, "container": best_effort.container_id, "resources": revocable, "tasks": []}
    return {
        "id": agent_id,
        "hostname": "made-up",
        "version": "1.11.0",
        "pid": "slave(1)@127.0.0.1:5051",
        "resources": {"cpus": 72.0, "mem": 262144.0},
        "flags": {},
        "frameworks": [
            {"id": "prod", "name": "prod", "executors": executors},
            {"id": best_effort.framework_id, "name": "serenity", "executors": [ours]},
        ],
    }


def _task(agent_id: str, number: int) -> dict[str, Any]:
    status = {
        "state": "TASK_RUNNING",
        "timestamp": 1.7e9,
        "container_status": {
            "container_id": {"value": str(uuid.uuid4())},
            "network_infos": [{"ip_addresses": [{"ip_address": "127.0.0.1", "protocol": "IPv4"}]}],
        },
    }
    return {
        "id": f"web.{number}",
        "name": "web",
        "framework_id": "prod",
        "executor_id": f"web.{number}",
        "slave_id": agent_id,
        "state": "TASK_RUNNING",
        "resources": {"cpus": 1.0, "mem": 256.0, "disk": 0, "gpus": 0, "ports": "[31000-31000]"},
        "role": "prod",
        "statuses": [{**status, "state": "TASK_STARTING", "timestamp": 1.6e9}, status],
        "labels": [{"key": "owner", "value": "search"}, {"key": "tier", "value": "front"}],
        "discovery": {"visibility": "CLUSTER", "name": "web", "ports": {"ports": [{"number": 31000, "name": "http"}]}},
    }


def _pids(containers: list[Production], best_effort: BestEffort) -> list[dict[str, Any]]:
    found = [("prod", f"web.{number}", each.container_id, each.pid) for number, each in enumerate(containers)]
    ours = (best_effort.framework_id, best_effort.executor_id, best_effort.container_id, best_effort.pid)
    return [
        {"framework_id": framework, "executor_id": executor, "container_id": container, "status": {"executor_pid": pid}}
        for framework, executor, container, pid in [*found, ours]
    ]
