"""All of Serenity on this machine: a Mesos, an estimator and a framework, as `local` and `demo` start them."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from serenity import qos
from serenity.localmesos.cluster.cluster import Cluster, ClusterOptions
from serenity.localmesos.cluster.tether import tethered
from serenity.wire.messages import runtime_file
from serenity.wire.transport import http
from serenity.wire.transport.http import Endpoint, HttpError, Unreachable

_READY_TIMEOUT_S = 30.0
_POLL_S = 0.1
_STOP_TIMEOUT_S = 10.0
_PORTS = range(31000, 32001)


class StackError(Exception):
    """A part did not start, or ended; the text says which, why, and where its log is."""


@dataclass(frozen=True, slots=True)
class StackOptions:
    """What to start.

    Attributes:
        cluster: its work directory also takes the daemons' logs, the store and the estimator's state.
        run_dir: sockets and the runtime file.
        listen: ``HOST:PORT`` of the framework's API for callers with a token; its socket in `run_dir` is always there.
        environment: more variables for the daemons, such as ``SERENITY_EXECUTOR_RUNG0``.
    """

    cluster: ClusterOptions
    run_dir: Path
    listen: str = "none"
    environment: Mapping[str, str] = field(default_factory=dict)


class Daemon:
    """One of our own long-running processes; its output goes into a log."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._arguments = arguments
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                tethered([sys.executable, "-P", "-m", f"serenity.{self.name}", *self._arguments]),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # A Ctrl-C is meant for the starting process, which then calls `stop`.
            )

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def ended(self) -> str | None:
        """How it ended, in words; None while it runs, or before it was started."""
        status = None if self._process is None else self._process.poll()
        if status is None:
            return None
        return f"exited with {status}" if status >= 0 else f"was ended by {signal.Signals(-status).name}"

    def last_words(self) -> str:
        try:
            lines = self.log.read_text(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class Stack:
    """Starts in order, stops in reverse, and leaves no process behind.

    Raises (start):
        StackError, ClusterError: and then nothing is left running.
    """

    def __init__(self, options: StackOptions) -> None:
        self.options = options
        self.cluster = Cluster(options.cluster)
        self.url = ""  # Of the framework's API; `estimator_address` is the estimator's.  Both are valid once started.
        self.estimator_address = ""
        self._daemons: list[Daemon] = []

    @property
    def daemons(self) -> Sequence[Daemon]:
        return self._daemons

    def start(self) -> None:
        os.umask(0o022)  # Tasks' users must get through to their sandboxes, whatever the caller's umask is.
        try:
            self.options.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StackError(f"cannot use the run directory {error.filename}: {error.strerror}") from error
        try:
            self.cluster.start()
            self._start_daemons()
        except BaseException:
            self.stop()
            raise

    def _start_daemons(self) -> None:
        work_dir, run_dir = self.options.cluster.work_dir, self.options.run_dir
        # The owner of the machine may run jobs as the own user, even as root.
        # Another pipeline: nobody waits here until the default predictor has learnt.
        defaults = {
            "SERENITY_EXECUTOR_ALLOW_ROOT": "true",
            "SERENITY_ESTIMATOR_PIPELINE": str(Path(qos.__file__).with_name("first_minutes.toml")),
        }
        environment = {**defaults, **os.environ, **self.options.environment, "SERENITY_RUN_DIR": str(run_dir)}
        # Ports are fixed for the life of the stack: a restarted daemon is found where it was.
        self.estimator_address = f"127.0.0.1:{_free_port()}"
        socket_path = run_dir.absolute() / "framework.sock"
        self.url = f"unix:{socket_path}"
        arguments = {
            "estimator": [
                *("--agent", self.cluster.agent),
                *("--state-dir", str(work_dir / "estimator")),
                *("--listen", self.estimator_address),
            ],
            "framework": [
                *("--master", self.cluster.master),
                *("--database", f"sqlite:///{work_dir / 'framework.db'}"),
                *("--socket", str(socket_path)),
                *("--tokens-file", str(work_dir / "tokens.json")),
                *("--listen", self.options.listen),
            ],
        }
        for name, flags in arguments.items():
            daemon = Daemon(name, flags, environment, work_dir / f"{name}.log")
            self._daemons.append(daemon)
            daemon.start()
        self._wait_for_framework()
        if other_runs(run_dir) is None:
            runtime_file.write(
                run_dir,
                runtime_file.RuntimeFile(
                    url=self.url,
                    master=f"http://{self.cluster.master}",
                    agent=f"http://{self.cluster.agent}",
                    pid=os.getpid(),
                ),
            )

    def _wait_for_framework(self) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while True:
            for daemon in self._daemons:
                if (how := daemon.ended()) is not None:
                    raise StackError(f"the {daemon.name} {how}: {daemon.last_words()} (see {daemon.log})")
            try:
                if http.request(Endpoint.parse(self.url), "GET", "/health", timeout_s=1.0).status == 200:
                    return
            except (Unreachable, HttpError):
                pass  # Not up yet.
            if time.monotonic() > deadline:
                raise StackError(
                    f"the framework was not ready after {_READY_TIMEOUT_S:.0f} s; see {self._daemons[-1].log}"
                )
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """May be called twice."""
        for daemon in reversed(self._daemons):
            daemon.stop()
        self._daemons.clear()
        self.cluster.stop()
        ours = runtime_file.read(self.options.run_dir)
        if ours is not None and ours.pid == os.getpid():
            runtime_file.path_in(self.options.run_dir).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def other_runs(run_dir: Path) -> runtime_file.RuntimeFile | None:
    """The runtime file of another `serenity local` that uses this run directory and is alive; None without one."""
    found = runtime_file.read(run_dir)
    return found if found is not None and found.alive and found.pid != os.getpid() else None


class WorkFolder:
    """A work directory: one that was named stays; a temporary one is removed unless something went wrong."""

    def __init__(self, named: Path | None) -> None:
        self._temporary = named is None
        # Short on purpose: Unix sockets below it have at most 107 bytes of path.
        self.path = Path(tempfile.mkdtemp(prefix="serenity-")) if named is None else named.absolute()
        if self._temporary:
            self.path.chmod(0o711)  # Jobs of other users must get through to their sandboxes, but see nothing else.

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        went_well = kind is None or issubclass(kind, KeyboardInterrupt)
        if self._temporary and went_well:
            shutil.rmtree(self.path, ignore_errors=True)


def end_in_order_on_signals() -> None:
    """SIGTERM and a closed terminal end this process as Ctrl-C does: by an exception, so that all is stopped."""
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.default_int_handler)


def agent_resources(cpus: float, mem_mb: float) -> str:
    """``--resources`` of an agent for local use."""
    return f"cpus:{cpus:g};mem:{mem_mb:.0f};disk:10240;ports:[{_PORTS[0]}-{_PORTS[-1]}]"


def free_agent_port() -> int:
    """One of the ports in `agent_resources` on which nobody listens.  Raises StackError."""
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise StackError(f"no port from {_PORTS[0]} to {_PORTS[-1]} is free")


def can_isolate_by_cgroups() -> bool:
    """Whether a real agent here can use the linux launcher with the cgroups v1 isolators."""
    controllers = ("cpu", "cpuacct", "memory", "freezer")
    return os.geteuid() == 0 and all(Path(f"/sys/fs/cgroup/{name}/tasks").exists() for name in controllers)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
