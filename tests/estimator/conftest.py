"""An estimator's process, and a framework that runs production and looks at offers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serenity.localmesos.cluster.cluster import Cluster, ClusterOptions
from serenity.wire.mesos.resources import Resources
from serenity.wire.mesos.scheduler import Disconnected, SchedulerDriver
from serenity.wire.messages import node
from tests.polling import eventually

TIMEOUT_S = 25.0
# Quick enough for a test: no age, no waiting, and a margin of nothing.
PIPELINE = """
[[slack.filters]]
name = "pr_executor_pass"
[slack.predictor]
name = "peak"
window_s = 2.0
margin = 0.0
min_age_s = 0.0
[slack.report]
rise_s = 0.0
grow_s = 0.0
"""


class Framework:
    """Registers in one role, keeps the offers, and runs commands on them."""

    def __init__(self, master: str, role: str) -> None:
        self.role = role
        self.offers: dict[str, Any] = {}
        self.states: dict[str, str] = {}
        self.events: list[str] = []
        self._lock = threading.Lock()
        self.driver = SchedulerDriver(
            self,
            {
                "user": "root" if os.geteuid() == 0 else "nobody",
                "name": f"test-{role}",
                "roles": [role],
                "checkpoint": True,
                "failover_timeout": 0.0,
                "capabilities": [
                    {"type": each}
                    for each in ("REVOCABLE_RESOURCES", "PARTITION_AWARE", "MULTI_ROLE", "RESERVATION_REFINEMENT")
                ],
            },
            master,
        )
        self.driver.start()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *_: None  # The callbacks that do not matter here.

    def resourceOffers(self, driver: Any, offers: list[Any]) -> None:  # noqa: N802
        with self._lock:
            self.offers.update((each["id"]["value"], each) for each in offers)

    def offerRescinded(self, driver: Any, offer_id: Any) -> None:  # noqa: N802
        with self._lock:
            self.offers.pop(offer_id["value"], None)
            self.events.append("rescinded")

    def statusUpdate(self, driver: Any, status: Any) -> None:  # noqa: N802
        self.states[status["task_id"]["value"]] = status["state"]
        if "uuid" in status:
            driver.acknowledgeStatusUpdate(status)

    def error(self, driver: Any, message: str) -> None:
        self.events.append(message)

    def on_offer(self) -> Resources:
        """All that is offered just now."""
        with self._lock:
            return sum((Resources.from_json(each["resources"]) for each in self.offers.values()), Resources())

    @property
    def slack(self) -> Resources:
        return self.on_offer().revocable

    def run(self, command: str, cpus: float, mem_mb: float, revocable: bool = False, **labels: str) -> str:
        """Launches a task, once its resources are offered; returns its id."""
        task_id = f"task-{uuid.uuid4().hex[:8]}"
        offer, taken = eventually(lambda: self._take(cpus, mem_mb, revocable), f"an offer for {command}")
        task = {
            "name": command.split()[0],
            "task_id": {"value": task_id},
            "agent_id": offer["agent_id"],
            "resources": taken.to_json(),
            "command": {"value": command},
            "labels": {"labels": [{"key": key, "value": value} for key, value in labels.items()]},
        }
        operations = [{"type": "LAUNCH", "launch": {"task_infos": [task]}}]
        self.driver.acceptOffers([offer["id"]], operations, {"refuse_seconds": 0.0})
        eventually(lambda: self.states.get(task_id) == "TASK_RUNNING", f"{command} running")
        return task_id

    def _take(self, cpus: float, mem_mb: float, revocable: bool) -> tuple[Any, Resources] | None:
        """An offer that has it all, and what to take of it."""
        with self._lock:
            for key, offer in self.offers.items():
                have = Resources.from_json(offer["resources"])
                have = have.revocable if revocable else have.regular
                taken = have.take("cpus", cpus), have.take("mem", mem_mb)
                if taken[0] is not None and taken[1] is not None:
                    del self.offers[key]
                    return offer, taken[0] + taken[1]
            fragments = list(self.offers.values()) if len(self.offers) > 1 else []
            for each in fragments:  # What was offered in parts comes again as one.
                del self.offers[each["id"]["value"]]
        for each in fragments:
            self.driver.declineOffer([each["id"]], {"refuse_seconds": 0.0})
        return None

    def kill(self, task_id: str) -> None:
        self.driver.killTask({"value": task_id})
        eventually(lambda: self.states[task_id] in ("TASK_KILLED", "TASK_FAILED"), "the task's end")

    def stop(self) -> None:
        """May be called twice, and when Mesos is gone already."""
        with contextlib.suppress(Disconnected):
            self.driver.teardown()
        self.driver.stop()


class Estimator:
    """A process of `python -m serenity.estimator`."""

    def __init__(self, agent: str, folder: Path, *more: str, role: str = "be") -> None:
        self.folder = folder
        self.log = folder / "estimator.log"
        file = folder / "pipeline.toml"
        file.write_text(PIPELINE)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.arguments = [
            sys.executable, "-m", "serenity.estimator", "--agent", agent, "--role", role, "--interval", "0.2",
            "--listen", f"127.0.0.1:{self.port}", "--pipeline", str(file), "--run-dir", str(folder / "r"),
            "--state-dir", str(folder / "s"), *more,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Estimator:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.arguments, stdout=log, stderr=log)
        return self

    def get(self, path: str) -> tuple[int, bytes]:
        """Status and body; (0, b"") while it does not listen."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            return 0, b""

    @property
    def slack(self) -> dict[str, Any]:
        status, body = self.get("/slack")
        return dict(json.loads(body)) if status == 200 else {}

    @property
    def socket(self) -> Path:
        (found,) = (self.folder / "r").glob("*.sock")
        return found

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Exit code, and how long it took."""
        assert self.process is not None
        before_s = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S), time.monotonic() - before_s


def lease(path: Path, *messages: node.ToEstimator) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.connect(str(path))
    hello = node.Hello(framework_id="F", executor_id="E", container_id="C", pid=os.getpid())
    connection.sendall(b"".join(node.encode_line(each) for each in (hello, *messages)))
    return connection


@pytest.fixture
def estimator(request, tmp_path_factory) -> Iterator[Callable[..., Estimator]]:
    made: list[Estimator] = []

    def make(*more: str, agent: str | None = None) -> Estimator:
        folder = tmp_path_factory.mktemp("e")
        agent = agent or request.getfixturevalue("own_cluster").agent
        made.append(Estimator(agent, folder, *more))
        return made[-1].start()

    yield make
    for each in made:
        if each.process is not None and each.process.poll() is None:
            each.process.kill()
            each.process.wait()


@pytest.fixture
def embedded(tmp_path_factory) -> Iterator[Cluster]:
    """For what does not depend on whose Mesos it is."""
    made = Cluster(ClusterOptions(tmp_path_factory.mktemp("m")))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def framework(request) -> Iterator[Callable[..., Framework]]:
    made: list[Framework] = []

    def make(role: str, cluster: Cluster | None = None) -> Framework:
        made.append(Framework((cluster or request.getfixturevalue("own_cluster")).master, role))
        return made[-1]

    yield make
    for each in made:
        each.stop()
