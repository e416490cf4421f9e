"""The embedded Mesos as a process of `cluster.Cluster`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import serenity
from serenity.localmesos.cluster_options import ClusterError, ClusterOptions
from serenity.wire.quantities import parse_mesos_duration_s

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 30.0
_READY = "ready: "
_TIMEOUT_FLAGS = ("executor_registration_timeout", "executor_shutdown_grace_period")


class EmbeddedProcess:
    def __init__(self, options: ClusterOptions) -> None:
        self.master = self.agent = ""
        self._options = options
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        log_path = self._options.work_dir / "mesos.log"
        imports = str(Path(serenity.__file__).resolve().parent.parent)
        inherited = os.environ.get("PYTHONPATH")
        with log_path.open("ab") as log:
            logged_bytes = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "serenity.localmesos", *self._arguments()],
                stdin=subprocess.PIPE,  # Its end, however this process ends, stops the Mesos.
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self._options.work_dir,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (imports, inherited)))},
                start_new_session=True,  # A Ctrl-C is for the one who started it, who then calls `stop`.
                text=True,
            )
        ready = self._ready_line(self._process)
        if ready is None:
            self.stop()
            said = log_path.read_bytes()[logged_bytes:].decode("utf-8", "replace").strip()
            raise ClusterError(said.splitlines()[-1] if said else f"the embedded Mesos did not start; see {log_path}")
        addresses = dict(each.split() for each in ready.removeprefix(_READY).split(", "))
        self.master, self.agent = addresses["master"], addresses["agent"]

    def _arguments(self) -> list[str]:
        options = self._options
        arguments = {
            "ip": options.ip,
            "master-port": options.master_port,
            "agent-port": options.agent_port,
            "work-dir": options.work_dir.absolute() / "agent",
            "resources": options.resources,
            "allocation-interval": options.allocation_interval_s,
        }
        for flag in _TIMEOUT_FLAGS:
            value = options.agent_flags.get(flag)
            if value is not None:
                try:
                    arguments[flag.replace("_", "-")] = parse_mesos_duration_s(value)
                except ValueError as error:
                    raise ClusterError(f"{flag}: {error}") from error
        return ["--stop-with-stdin", *(f"--{name}={value}" for name, value in arguments.items())]

    def _ready_line(self, process: subprocess.Popen[str]) -> str | None:
        """None if it ended instead, or took too long."""
        assert process.stdout is not None
        impatience = threading.Timer(_START_TIMEOUT_S, process.kill)
        impatience.start()
        try:
            return next((line.strip() for line in process.stdout if line.startswith(_READY)), None)
        finally:
            impatience.cancel()

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def kill_agent(self) -> None:
        raise ClusterError("the embedded Mesos is one process: its agent cannot be killed alone")

    def start_agent(self) -> None:
        raise ClusterError("the embedded Mesos is one process: its agent cannot be started alone")
