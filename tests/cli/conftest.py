"""The command line as users run it, against a framework of its own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from serenity.localmesos.cluster.cluster import Cluster
from serenity.wire.mesos.provider import ProviderDriver, new_version, slack
from serenity.wire.transport import http
from serenity.wire.transport.http import Endpoint, Unreachable
from tests.answering import Answering
from tests.polling import eventually


@contextlib.contextmanager
def framework_that_says(message: msgspec.Struct) -> Iterator[str]:
    """Yields the address of a server that knows that message alone."""
    with Answering(lambda *_: (200, msgspec.json.encode(message))) as server:
        yield f"http://{server.address}"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


class Serenity:
    """``serenity …`` in a process, with a home and a run directory of its own."""

    def __init__(self, home: Path, url: str | None) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SERENITY_")}
        self.environment = {**kept, "HOME": str(home), "SERENITY_RUN_DIR": str(home / "run")}
        self.environment.pop("XDG_CONFIG_HOME", None)
        if url is not None:
            self.environment["SERENITY_URL"] = url

    def __call__(self, *arguments: str, **environment: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "serenity", *arguments],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Ran(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-m", "serenity", *arguments]
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )


class Slack:
    def __init__(self, agent: str, role: str) -> None:
        self._total, self._version = slack(role, cpus=1.5, mem=1024), new_version()
        self._driver = ProviderDriver(self, agent, {"type": "org.serenity.slack", "name": role})
        self._driver.start()

    def stop(self) -> None:
        self._driver.stop()

    def subscribed(self, provider_id: str) -> None:
        self._driver.update_state(self._total, self._version)

    def published(self, held: object) -> None: ...
    def unsubscribed(self, reason: str) -> None: ...
    def failed(self, reason: str) -> None: ...


def _answers(url: str) -> bool:
    try:
        return http.request(Endpoint.parse(url), "GET", "/health", timeout_s=5).status == 200
    except Unreachable:
        return False


@pytest.fixture
def alone(tmp_path: Path) -> Serenity:
    """No framework anywhere."""
    return Serenity(tmp_path, None)


class Served(Serenity):
    """With a framework that can be killed and started again."""

    def __init__(self, folder: Path, master: str, role: str, port: int) -> None:
        super().__init__(folder, f"unix:{folder}/api.sock")
        self.tcp_url = f"http://127.0.0.1:{port}"
        self._arguments = [
            *("framework", "--master", master, "--role", role, "--listen", f"127.0.0.1:{port}"),
            *("--socket", f"{folder}/api.sock", "--tokens-file", f"{folder}/tokens.json"),
            *("--database", f"sqlite:///{folder}/f.db"),
        ]
        self._log = folder / "framework.log"
        self._process: subprocess.Popen[bytes] | None = None

    def serve(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "serenity", *self._arguments],
                env={
                    **self.environment,
                    "SERENITY_EXECUTOR_QOS": "false",
                    "SERENITY_EXECUTOR_ALLOW_ROOT": "true",
                },
                stdout=log,
                stderr=log,
            )
        eventually(lambda: _answers(self.environment["SERENITY_URL"]), "the framework's answer")

    def crash(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(timeout=15)


@pytest.fixture(scope="module")
def serenity(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, free_port: int) -> Iterator[Served]:
    """With a framework on the shared Mesos, and the real executor."""
    folder = tmp_path_factory.mktemp("cli")
    role = f"cli-{folder.parent.name}-{folder.name}"
    provider = Slack(cluster.agent, role)
    served = Served(folder, cluster.master, role, free_port)
    try:
        served.serve()
        yield served
    finally:
        answer = http.get_json(Endpoint.parse(served.environment["SERENITY_URL"]), "/health")
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        body = f"frameworkId={answer['framework_id']}".encode()
        http.request(Endpoint.parse(cluster.master), "POST", "/teardown", body, form)
        served.end()
        provider.stop()


@pytest.fixture(scope="module")
def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
