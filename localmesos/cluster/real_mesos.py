"""A real Mesos master and agent as processes of `cluster.Cluster`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from serenity.localmesos.cluster.options import ClusterError, ClusterOptions
from serenity.localmesos.cluster.tether import tethered
from serenity.localmesos.containers import processes
from serenity.wire.mesos.quantities import parse_mesos_duration_s
from serenity.wire.transport import http

_START_TIMEOUT_S = 60.0
_SHUTDOWN_TIMEOUT_S = 20.0  # Of the agent with its executors.
_END_TIMEOUT_S = 5.0
_POLL_S = 0.05
# SIGUSR1: the agent shuts down all executors, then itself; SIGTERM would leave them to be recovered.
_END_SIGNALS = {"agent": signal.SIGUSR1, "master": signal.SIGTERM}
_CGROUP_FILESYSTEMS = Path("/sys/fs/cgroup")


class RealMesos:
    def __init__(self, options: ClusterOptions, bin_dir: Path) -> None:
        self.master = self.agent = ""
        self._options = options
        self._bin_dir = bin_dir
        self._cgroups_root = f"serenity-{uuid.uuid4().hex[:12]}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    # -- start -------------------------------------------------------------------------

    def start(self) -> None:
        options = self._options
        if options.cgroups and os.geteuid() != 0:
            raise ClusterError("cgroups isolation needs root")
        master_port = free_port(options.ip, options.master_port)
        agent_port = free_port(options.ip, options.agent_port)
        self.master, self.agent = f"{options.ip}:{master_port}", f"{options.ip}:{agent_port}"
        try:
            self.start_master()
            self.start_agent()
        except BaseException:
            self.stop()
            raise

    def start_master(self) -> None:
        self._run("master", self._master_flags(int(self.master.rpartition(":")[2])))
        self._wait("master", lambda: _get(self.master, "/version") is not None)

    def start_agent(self) -> None:
        port = int(self.agent.rpartition(":")[2])
        self._run("agent", self._agent_flags(port))
        self._wait("agent", self._registered)

    def _registered(self) -> bool:
        if _get(self.agent, "/version") is None:
            return False  # Asked first: the master may still take the killed agent for active.
        answer = _get(self.master, "/slaves")
        port = int(self.agent.rpartition(":")[2])
        return answer is not None and any(each["active"] and each["port"] == port for each in answer["slaves"])

    def _master_flags(self, port: int) -> dict[str, str | None]:
        options = self._options
        return {
            "ip": options.ip,
            "port": str(port),
            "no-hostname_lookup": None,
            "work_dir": str(options.work_dir.absolute() / "master"),
            "registry": "in_memory",
            "allocation_interval": f"{options.allocation_interval_s * 1000:.0f}ms",
            **options.master_flags,
        }

    def _agent_flags(self, port: int) -> dict[str, str | None]:
        options, work_dir = self._options, self._options.work_dir.absolute()
        isolated = {
            "launcher": "linux",
            "isolation": "cgroups/cpu,cgroups/mem",
            "cgroups_root": self._cgroups_root,
        }
        return {
            "master": self.master,
            "ip": options.ip,
            "port": str(port),
            "no-hostname_lookup": None,
            "work_dir": str(work_dir / "agent"),
            "runtime_dir": str(work_dir / "run"),
            "fetcher_cache_dir": str(work_dir / "fetch"),
            "launcher_dir": str(self._launcher_dir()),
            "resources": options.resources,
            "registration_backoff_factor": "100ms",
            "no-systemd_enable_support": None,
            **(isolated if options.cgroups else {"launcher": "posix", "isolation": "posix/cpu,posix/mem"}),
            **({} if os.geteuid() == 0 else {"no-switch_user": None}),
            **options.agent_flags,
        }

    def _launcher_dir(self) -> Path:
        """The folder of mesos-executor: beside the binaries, or where an installed Mesos has it."""
        candidates = (self._bin_dir, self._bin_dir.parent / "libexec/mesos", Path("/usr/libexec/mesos"))
        for folder in candidates:
            if (folder / "mesos-executor").exists():
                return folder
        raise ClusterError(f"no mesos-executor in any of {', '.join(map(str, candidates))}")

    def _run(self, name: str, flags: Mapping[str, str | None]) -> None:
        arguments = [f"--{flag}" if value is None else f"--{flag}={value}" for flag, value in flags.items()]
        with (self._options.work_dir / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                tethered([str(self._bin_dir / f"mesos-{name}"), *arguments], _END_SIGNALS[name]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._options.work_dir,
                start_new_session=True,  # A Ctrl-C is meant for the starting process, which then calls `stop`.
            )

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        log = self._options.work_dir / f"{name}.log"
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not ready():
            if self._processes[name].poll() is not None:
                said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
                raise ClusterError(f"mesos-{name} ended: {said[-1] if said else 'without a word'} (see {log})")
            if time.monotonic() > deadline:
                raise ClusterError(f"mesos-{name} was not ready after {_START_TIMEOUT_S:.0f} s; see {log}")
            time.sleep(_POLL_S)

    # -- end ---------------------------------------------------------------------------

    def kill_master(self) -> None:
        self._end("master", signal.SIGKILL, _END_TIMEOUT_S)

    def kill_agent(self) -> None:
        self._end("agent", signal.SIGKILL, _END_TIMEOUT_S)

    def lose_agent(self) -> None:
        """Raises ClusterError if the master does not give the agent up in time."""
        self.kill_agent()
        flags = _get(self.master, "/flags")["flags"]
        patience_s = parse_mesos_duration_s(flags["agent_ping_timeout"]) * (int(flags["max_agent_ping_timeouts"]) + 1)
        deadline = time.monotonic() + patience_s + _END_TIMEOUT_S
        while _get(self.master, "/slaves")["slaves"]:
            if time.monotonic() > deadline:
                raise ClusterError("the master has not given up the agent")
            time.sleep(_POLL_S)

    def drop_streams(self, kinds: Sequence[str]) -> None:
        raise ClusterError("nothing breaks the connections of a real Mesos from outside")

    def unavailable(self, which: str, for_s: float) -> None:
        raise ClusterError("a real Mesos does not answer 503 on demand")

    def stop(self) -> None:
        self._end("agent", _END_SIGNALS["agent"], _SHUTDOWN_TIMEOUT_S)
        self._end("master", _END_SIGNALS["master"], _END_TIMEOUT_S)
        left = processes.kill_all(self._left_over)
        self._remove_cgroups()
        if left:
            raise ClusterError(f"cannot kill processes {sorted(left)}")

    def _end(self, name: str, signum: signal.Signals, timeout_s: float) -> None:
        process = self._processes.pop(name, None)
        if process is None:
            return
        process.send_signal(signum)
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _left_over(self) -> set[int]:
        """Processes of containers: by the sandbox in their environment, and by their cgroups."""
        mark = f"MESOS_SANDBOX={self._options.work_dir.absolute() / 'agent'}/".encode()
        found = processes.members(processes.snapshot(), None, mark)
        for cgroup in self._cgroups():
            try:
                found |= {int(pid) for pid in (cgroup / "cgroup.procs").read_text().split()}
            except OSError:
                continue
        return found

    def _remove_cgroups(self) -> None:
        for cgroup in self._cgroups():
            try:
                cgroup.rmdir()
            except OSError:
                continue  # Not empty: someone else's process is in there now.

    def _cgroups(self) -> Iterator[Path]:
        """Every cgroup below our root, in every hierarchy, the deepest first."""
        if not self._options.cgroups:
            return
        for root in _CGROUP_FILESYSTEMS.glob(f"*/{self._cgroups_root}"):
            if root.parent.is_symlink():
                continue  # cpuacct -> cpu,cpuacct and the like.
            for folder, _, _ in os.walk(root, topdown=False):
                yield Path(folder)


def free_port(ip: str, port: int) -> int:
    """`port` if it is free, or any free port for 0; another process may take it before it is used.

    Raises:
        ClusterError: it is in use.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ip, port))
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ClusterError(f"cannot listen at {ip}:{port}: {reason}") from error
        return int(probe.getsockname()[1])


def _get(address: str, path: str) -> Any:
    """The JSON that an endpoint answers; None while it does not."""
    try:
        return http.get_json(http.Endpoint.parse(address), path)
    except (http.Unreachable, http.HttpError):
        return None
