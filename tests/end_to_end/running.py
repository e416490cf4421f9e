"""The whole of Serenity on one Mesos, as a user has it: daemons as processes, jobs by the API or the command line."""

from __future__ import annotations

import copy
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from serenity.cli.demo.production import Production, Service
from serenity.cli.stack import Daemon, Stack, StackOptions, agent_resources
from serenity.localmesos.cluster.cluster import Cluster
from serenity.wire.transport.http import Endpoint, Stream, Unreachable, get_json, open_stream, request
from tests.clusters import cluster_options, last_words
from tests.end_to_end.left_over import RUNS, left_over
from tests.end_to_end.line import LinedCluster
from tests.polling import eventually

CPUS = 2.0
MEM_MB = 4096.0
IDLE = Service("idle", ("sleep", "3600"), CPUS * 0.75, MEM_MB * 0.75)
_ENDED = ("finished", "failed", "killed")
# A guardian has to wait for what it has killed.
_GONE_WITHIN_S = 10.0
QUICK = Path(__file__).with_name("quick.toml")
# The daemons have their own, so that it can be seen what they leave in them.
_FOLDERS = ("HOME", "TMPDIR")


class Running:
    """A stack that runs, with production tasks on it.

    `mesos` is the cluster itself.  The daemons may reach it by `lines`, which a test can break.
    """

    def __init__(self, stack: Stack, mesos: Cluster) -> None:
        self.stack = stack
        self.mesos = mesos
        self.failed = False  # A test has: the logs are to be kept.
        self.noticed: str | None = None  # By production, until the end of all.
        self._production: Production | None = None

    def start_production(self, services: Sequence[Service]) -> None:
        self._production = Production(self.mesos.master, pwd.getpwuid(os.geteuid()).pw_name, services)
        self._production.start()

    @property
    def trouble(self) -> str | None:
        """What production has noticed so far."""
        return self.noticed if self._production is None else self._production.trouble()

    @property
    def lines(self) -> LinedCluster:
        assert isinstance(self.stack.cluster, LinedCluster), "this stack has no lines"
        return self.stack.cluster

    # -- the command line ------------------------------------------------------------------------

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

    # -- the API: a process a look would cost more than what is looked at -----------------------------

    def run(self, *command: str, **more: Any) -> str:
        """Submits a small job, and returns its id; `more` are fields of the API's JobRequest."""
        body = {"command": command, "cpus": 0.1, "mem_bytes": 32 << 20, **more}
        answer = request(self._url, "POST", "/v1/jobs", body, timeout_s=30.0)
        assert answer.status == 201, answer.body
        return str(answer.json()["id"])

    def kill(self, job: str) -> None:
        answer = request(self._url, "POST", f"/v1/jobs/{job}/kill", {})
        assert answer.status == 202, answer.body

    def find(self, name: str) -> str | None:
        """The id of the job that has this name; None while there is none."""
        answer = request(self._url, "GET", f"/v1/jobs/{name}")
        assert answer.status in (200, 404), answer.body
        return str(answer.json()["job"]["id"]) if answer.status == 200 else None

    def detail(self, job: str) -> dict[str, Any]:
        """The job and its attempts."""
        return dict(get_json(self._url, f"/v1/jobs/{job}"))

    def job(self, job: str) -> dict[str, Any]:
        return dict(self.detail(job)["job"])

    def state(self, job: str) -> str:
        return str(self.job(job)["state"])

    def attempts(self, job: str, state: str | None = None) -> list[dict[str, Any]]:
        """By instance, then number; `state` selects."""
        found = self.detail(job)["attempts"]
        return [each for each in found if state in (None, each["state"])]

    def wait_for(self, job: str, state: str) -> None:
        eventually(lambda: self.state(job) == state, f"job {job} {state}")

    def wait_for_running(self, job: str, count: int = 1) -> list[dict[str, Any]]:
        return eventually(
            lambda: found if len(found := self.attempts(job, "running")) == count else [],
            f"{count} running instances of {job}",
        )

    def end(self, *jobs: str) -> None:
        """Kills them, and waits until they are gone."""
        for job in jobs:
            self.kill(job)
        for job in jobs:
            self.wait_for(job, "killed")

    def history(self, job: str) -> dict[str, list[str]]:
        """Of a job that has ended: the states that its watchers were told of each task, in order."""
        url = f"/v1/jobs/{job}/events"
        stream = open_stream(self._url, "GET", url, headers={"Last-Event-ID": "0"}, silence_s=10.0)
        states: dict[str, list[str]] = {}
        for line in _lines(stream):
            if not line.startswith("data: "):
                continue
            event = json.loads(line.removeprefix("data: "))
            if event["type"] in ("attempt", "kill"):
                states.setdefault(event["task"], []).append(event["state"])
            elif event["type"] == "job" and event["state"] in _ENDED:
                break
        stream.close()
        return states

    def health(self) -> dict[str, Any]:
        return dict(get_json(self._url, "/health"))

    @property
    def _url(self) -> Endpoint:
        return Endpoint.parse(self.stack.url)

    # -- the estimator, and what Mesos says --------------------------------------------------------

    def slack(self) -> dict[str, Any]:
        """The estimator's account."""
        return dict(get_json(Endpoint.parse(self.stack.estimator_address), "/slack"))

    def has_slack(self) -> bool:
        """Fails when none will come."""
        for each in self.stack.daemons:
            assert each.ended() is None, f"the {each.name} {each.ended()}: {each.last_words()}"
        return self.slack_cpus() > 0.5

    def slack_cpus(self) -> float:
        """What the agent says it has of revocable cpus; none while it does not answer."""
        try:
            return float(get_json(self._agent, "/state")["resources"].get("cpus_revocable", 0.0))
        except Unreachable:
            return 0.0

    def offered_cpus(self) -> float:
        """Revocable cpus that lie in offers to our framework, as the master says."""
        state = get_json(Endpoint.parse(self.mesos.master), "/state")
        (ours,) = [each for each in state["frameworks"] if each["name"] == "serenity"]
        return float(ours["offered_resources"].get("cpus_revocable", 0.0))

    def calls(self, kind: str) -> int:
        """How many calls of a kind the framework has made to the master."""
        name = f'serenity_framework_calls_total{{type="{kind}"}} '
        metrics = request(self._url, "GET", "/metrics").body.decode().splitlines()
        return sum(int(float(line.removeprefix(name))) for line in metrics if line.startswith(name))

    @property
    def _agent(self) -> Endpoint:
        return Endpoint.parse(self.mesos.agent)

    # -- processes -----------------------------------------------------------------------------------

    def daemon(self, name: str) -> Daemon:
        return next(each for each in self.stack.daemons if each.name == name)

    def daemon_pid(self, name: str) -> int:
        pid = self.daemon(name).pid
        assert pid is not None
        return pid

    def signal(self, name: str, signum: signal.Signals) -> None:
        """To a daemon; returns when it has ended, if the signal ends it."""
        daemon = self.daemon(name)
        os.kill(self.daemon_pid(name), signum)
        if signum in (signal.SIGKILL, signal.SIGTERM):
            eventually(daemon.ended, f"the {name}'s end", 10.0)

    def start(self, name: str) -> None:
        """Starts a daemon again that has ended; the framework answers and has subscribed when this returns."""
        self.daemon(name).start()
        if name == "framework":
            eventually(self.subscribed, "the framework's return")

    def neighbour(self, name: str, **environment: str) -> Running:
        """A second framework on the same cluster, with a store of its own; it ends with the stack."""
        run_dir, folder = self.stack.options.run_dir, self.work_dir / name
        folder.mkdir()
        socket = run_dir / f"{name}.sock"
        flags = [
            *("--name", name, "--master", self.mesos.master, "--socket", str(socket), "--listen", "none"),
            *("--database", f"sqlite:///{folder / 'framework.db'}", "--tokens-file", str(folder / "tokens.json")),
        ]
        theirs = {"SERENITY_EXECUTOR_ALLOW_ROOT": "true", **os.environ, **self.stack.options.environment, **environment}
        daemon = Daemon("framework", flags, {**theirs, "SERENITY_RUN_DIR": str(run_dir)}, self.work_dir / f"{name}.log")
        self.stack._daemons.append(daemon)
        daemon.start()
        stack = copy.copy(self.stack)
        stack.url = f"unix:{socket}"
        neighbour = Running(stack, self.mesos)
        eventually(neighbour.subscribed, f"the subscription of {name}")
        return neighbour

    def configure(self, text: str) -> None:
        """The serenity.toml of daemons that are started from now on."""
        (self.work_dir / "serenity.toml").write_text(text)

    def executors(self) -> list[psutil.Process]:
        return self.processes_of("serenity.executor")

    def processes_of(self, module: str) -> list[psutil.Process]:
        """``python -P -m MODULE``, of this stack."""
        run_dir = str(self.stack.options.run_dir)
        return [
            each
            for each in psutil.process_iter()
            if _command(each)[1:4] == ["-P", "-m", module] and _environment(each, "SERENITY_RUN_DIR") == run_dir
        ]

    def subscribed(self) -> bool:
        try:
            return bool(self.health()["subscribed"])
        except Unreachable:
            return False

    # -- its end -------------------------------------------------------------------------------------

    def stop(self) -> list[str]:
        """Stops all of it, and says what is left of it on the machine some seconds later.  May be called twice."""
        if self._production is not None:
            self.noticed = self.trouble
            self._production.stop()
            self._production = None
        self.stack.stop()
        folders = [self.stack.options.run_dir, *(self.work_dir / name for name in _FOLDERS)]
        deadline = time.monotonic() + _GONE_WITHIN_S
        while (left := left_over(self.work_dir, *folders)) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left

    @property
    def work_dir(self) -> Path:
        return self.stack.options.cluster.work_dir

    @property
    def logs(self) -> list[Path]:
        """Of Mesos and the daemons, and what the executors said."""
        return _logs(self.work_dir)


def _logs(work_dir: Path) -> list[Path]:
    executors = (each for each in work_dir.glob(f"{RUNS}/*/stderr") if each.parent.name != "latest")
    return [*sorted(work_dir.glob("*.log")), *sorted(executors)]


def _lines(stream: Stream) -> Iterator[str]:
    text = ""
    for chunk in stream.chunks():
        *whole, text = (text + chunk.decode()).split("\n")
        yield from whole


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
def running_stack(
    kind: str,
    services: Sequence[Service] = (IDLE,),
    *,
    lined: bool = False,
    more_resources: str = "",
    agent_is_lost: bool = False,
    agent_flags: Mapping[str, str | None] | None = None,
    master_flags: Mapping[str, str | None] | None = None,
    **environment: str,
) -> Iterator[Running]:
    """A stack on one kind of Mesos, with slack to give.

    Fails when production has noticed anything of what was done to the stack (unless it is that
    `agent_is_lost`), and when anything of it is on the machine after its end.

    `lined`: the daemons and executors reach Mesos by lines.  `environment` is the daemons'; it
    overrides what makes slack come at once.
    """
    # Not pytest's folder: its path is too long for a Unix socket.
    work_dir = Path(tempfile.mkdtemp(prefix="serenity-e2e-"))
    try:
        cluster = Cluster(
            cluster_options(
                kind,
                work_dir,
                resources=agent_resources(CPUS, MEM_MB) + more_resources,
                agent_flags=agent_flags or {},
                master_flags=master_flags or {},
            )
        )
        running = _start(cluster, services, lined, environment)
        try:
            yield running
        finally:
            left = running.stop()
        assert left == [], f"left on the machine: {left}"
        assert agent_is_lost or running.noticed is None, running.noticed
    except pytest.skip.Exception:
        work_dir.rmdir()
        raise
    except BaseException:
        print(f"kept: {work_dir}\n{last_words(_logs(work_dir))}", file=sys.stderr)
        raise
    if not running.failed:
        shutil.rmtree(work_dir)


class _Inhabited(Stack):
    """Production is on its agent before any daemon of ours: the estimator's first look sees it, and there is slack two
    seconds earlier than with one that comes later, as in `tests.messages.session`."""

    def __init__(self, options: StackOptions, inhabit: Callable[[], None]) -> None:
        super().__init__(options)
        self._inhabit = inhabit

    def _start_daemons(self) -> None:
        self._inhabit()
        super()._start_daemons()


def _start(mesos: Cluster, services: Sequence[Service], lined: bool, environment: Mapping[str, str]) -> Running:
    work_dir = mesos.options.work_dir
    daemons = {
        "SERENITY_CONFIG": str(work_dir / "serenity.toml"),
        "SERENITY_ESTIMATOR_PIPELINE": str(QUICK),
        "SERENITY_ESTIMATOR_INTERVAL_S": "0.5",
    }
    for name in _FOLDERS:
        (work_dir / name).mkdir()
        daemons[name] = str(work_dir / name)
    cluster: Cluster | LinedCluster = LinedCluster(mesos) if lined else mesos
    if isinstance(cluster, LinedCluster):
        environment = {**environment, "SERENITY_FRAMEWORK_EXECUTOR_COMMAND": cluster.executor_command}
    options = StackOptions(mesos.options, work_dir / "node", environment={**daemons, **environment})
    stack = _Inhabited(options, lambda: running.start_production(services))
    stack.cluster = cluster  # type: ignore[assignment]
    running = Running(stack, mesos)
    running.configure("")
    try:
        stack.start()
        eventually(running.has_slack, "slack")
    except BaseException:
        running.stop()
        raise
    return running
