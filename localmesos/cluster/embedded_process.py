"""The embedded Mesos as a process of `cluster.Cluster`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import serenity
from serenity.localmesos.cluster.options import ClusterError, ClusterOptions
from serenity.wire.mesos.quantities import parse_mesos_duration_s

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 30.0
_ANSWER_TIMEOUT_S = 60.0
_READY = "ready: "
# The Mesos flags with a duration that the embedded Mesos follows: it has options of the same names.
_DURATIONS_OF_AGENT = (
    "executor_registration_timeout",
    "executor_reregistration_timeout",
    "executor_shutdown_grace_period",
    "recovery_timeout",
)
_DURATIONS_OF_MASTER = ("agent_ping_timeout", "offer_timeout")


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
                stdin=subprocess.PIPE,  # For commands; it closes however this process ends, which stops the Mesos.
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self._options.work_dir,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (imports, inherited)))},
                start_new_session=True,  # A Ctrl-C is meant for the starting process, which then calls `stop`.
                text=True,
            )
        ready = self._line(self._process, _READY, _START_TIMEOUT_S)
        if ready is None:
            self.stop()
            said = log_path.read_bytes()[logged_bytes:].decode("utf-8", "replace").strip()
            raise ClusterError(said.splitlines()[-1] if said else f"the embedded Mesos did not start; see {log_path}")
        addresses = dict(each.split() for each in ready.removeprefix(_READY).split(", "))
        self.master, self.agent = addresses["master"], addresses["agent"]

    def _arguments(self) -> list[str]:
        options = self._options
        arguments: dict[str, object] = {
            "ip": options.ip,
            "master-port": options.master_port,
            "agent-port": options.agent_port,
            "work-dir": options.work_dir.absolute() / "agent",
            "resources": options.resources,
            "allocation-interval": options.allocation_interval_s,
        }
        for flag, value in (
            *((flag, options.agent_flags.get(flag)) for flag in _DURATIONS_OF_AGENT),
            *((flag, options.master_flags.get(flag)) for flag in _DURATIONS_OF_MASTER),
        ):
            if value is not None:
                try:
                    arguments[flag.replace("_", "-")] = parse_mesos_duration_s(value)
                except ValueError as error:
                    raise ClusterError(f"{flag}: {error}") from error
        if (timeouts := options.master_flags.get("max_agent_ping_timeouts")) is not None:
            arguments["max-agent-ping-timeouts"] = timeouts
        if options.cgroups:
            arguments["isolation"] = "cgroups"
        low_priority = "no-revocable_cpu_low_priority" not in options.agent_flags
        bare = ["--control", *([] if low_priority else ["--no-revocable-cpu-low-priority"])]
        return [*bare, *(f"--{name}={value}" for name, value in arguments.items())]

    def _line(self, process: subprocess.Popen[str], begin: str, timeout_s: float) -> str | None:
        """The next line with that `begin`; None if the process ended instead, or took too long and was killed."""
        assert process.stdout is not None
        impatience = threading.Timer(timeout_s, process.kill)
        impatience.start()
        try:
            return next((line.strip() for line in process.stdout if line.startswith(begin)), None)
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

    # -- faults ------------------------------------------------------------------------

    def kill_master(self) -> None:
        raise ClusterError("the embedded master lives in one process with its agent")

    def start_master(self) -> None:
        raise ClusterError("the embedded master lives in one process with its agent")

    def kill_agent(self) -> None:
        self._do("kill_agent")

    def start_agent(self) -> None:
        self._do("start_agent")

    def lose_agent(self) -> None:
        self._do("lose_agent")

    def drop_streams(self, kinds: Sequence[str]) -> None:
        self._do("drop_streams", of=list(kinds))

    def unavailable(self, which: str, for_s: float) -> None:
        self._do("unavailable", which=which, for_s=for_s)

    def _do(self, command: str, **arguments: Any) -> None:
        """See `control` for the commands.  Raises ClusterError."""
        process = self._process
        if process is None:
            raise ClusterError("the embedded Mesos does not run")
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # The process has ended: no answer comes.
            process.stdin.write(json.dumps({"command": command, **arguments}) + "\n")
            process.stdin.flush()
        line = self._line(process, "{", _ANSWER_TIMEOUT_S)
        if line is None:
            raise ClusterError(f"the embedded Mesos has ended; see {self._options.work_dir / 'mesos.log'}")
        answer = json.loads(line)
        if "error" in answer:
            raise ClusterError(answer["error"])
