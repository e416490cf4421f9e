"""A framework process, slack to launch on, and jobs to launch."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from serenity.localmesos.cluster.cluster import Cluster
from serenity.wire.mesos.provider import ProviderDriver, new_version, slack
from serenity.wire.transport import http
from serenity.wire.transport.http import Endpoint, Unreachable
from tests.framework.zygote import Zygote
from tests.polling import eventually

TIMEOUT_S = 30.0
STUB_EXECUTOR = Path(__file__).parent / "stub_executor.py"


class Slack:
    """Reports a fixed amount of slack to an agent, as an estimator would."""

    def __init__(self, agent: str, role: str, cpus: float = 1.5, mem: float = 1024.0) -> None:
        self._total = slack(role, cpus=cpus, mem=mem)
        self._version = new_version()
        self._driver = ProviderDriver(self, agent, {"type": "org.serenity.slack", "name": f"slack-{role}"})
        self._driver.start()

    def stop(self) -> None:
        self._driver.stop()

    def subscribed(self, provider_id: str) -> None:
        self._driver.update_state(self._total, self._version)

    def published(self, held: object) -> None: ...
    def unsubscribed(self, reason: str) -> None: ...
    def failed(self, reason: str) -> None: ...


class FrameworkProcess:
    """``python -m serenity.framework`` with a store that outlives it."""

    def __init__(
        self,
        folder: Path,
        master: str,
        role: str = "serenity",
        executor: str | None = None,
        more: Sequence[str] = (),
        under: Sequence[str] = (),
    ) -> None:
        """`under`: a command that becomes the one behind it."""
        self.url = f"unix:{folder / 'api.sock'}"
        self.log = folder / "framework.log"
        command = executor or shlex.join([sys.executable, "-P", str(STUB_EXECUTOR)])
        self._arguments = [
            *("--master", master, "--listen", "none", "--socket", str(folder / "api.sock"), "--role", role),
            *("--tokens-file", str(folder / "tokens.json")),
            *("--database", f"sqlite:///{folder / 'framework.db'}", "--executor-command", command),
            *("--executor-mem", "64M"),
            *more,
        ]
        self._under = under
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = self._begin()
        eventually(self._answers, "the framework's answer")

    def _begin(self) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SERENITY_")}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*self._under, sys.executable, "-P", "-m", "serenity.framework", *self._arguments],
                stdout=log,
                stderr=log,
                env={**environment, "SERENITY_CONFIG": "/dev/null"},
            )

    def kill(self) -> None:
        """As a crash would."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def health(self) -> Any:
        return self.request("GET", "/health")

    def wait_until_dead(self) -> int:
        """Its exit code, once it has ended by itself."""
        assert self._process is not None
        return self._process.wait(timeout=TIMEOUT_S)

    def stop(self) -> int:
        if self._process is None:
            return 0
        self._process.terminate()
        return self._process.wait(timeout=15)

    def request(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = http.request(Endpoint.parse(self.url), method, path, body, timeout_s=TIMEOUT_S)
        assert answer.status == status, answer.body
        return json.loads(answer.body)

    def submit(self, *command: str, **request: Any) -> str:
        body = {"command": command, "cpus": 0.2, "mem_bytes": 32 << 20, **request}
        return str(self.request("POST", "/v1/jobs", body, status=201)["id"])

    def job(self, job_id: str) -> Any:
        return self.request("GET", f"/v1/jobs/{job_id}")["job"]

    def attempts(self, job_id: str) -> list[Any]:
        return list(self.request("GET", f"/v1/jobs/{job_id}")["attempts"])

    def wait_for(self, job_id: str, *states: str) -> Any:
        def in_state() -> Any:
            job = self.job(job_id)
            return job if job["state"] in states else None

        return eventually(in_state, f"job {job_id} {' or '.join(states)}")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        try:
            return http.request(Endpoint.parse(self.url), "GET", "/health", timeout_s=5).status == 200
        except Unreachable:
            return False


@pytest.fixture(scope="module")
def framework(cluster: Cluster, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrameworkProcess]:
    """A framework that a module's tests share, with a role and slack of its own, on the shared Mesos."""
    from tests.framework.forked import ForkedFramework

    folder = tmp_path_factory.mktemp("framework")
    role = f"be-{folder.parent.name}-{folder.name}"
    provider = Slack(cluster.agent, role)
    process = ForkedFramework(zygote, folder, cluster.master, role, patience_s=1.0)
    try:
        process.start()
        yield process
    finally:
        _teardown(cluster, process)
        process.stop()
        provider.stop()


def _teardown(cluster: Cluster, process: FrameworkProcess) -> None:
    """The framework never tears itself down; on a shared Mesos the test does it for it."""
    try:
        framework_id = process.request("GET", "/health")["framework_id"]
    except (Unreachable, AssertionError):
        return  # It is gone already, and the test has failed for that.
    http.request(
        Endpoint.parse(cluster.master),
        "POST",
        "/teardown",
        f"frameworkId={framework_id}".encode(),
        {"Content-Type": "application/x-www-form-urlencoded"},
    )


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.close()
