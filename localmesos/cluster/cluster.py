"""A Mesos to run things on: the embedded one, or a real one from its binaries.

    with Cluster(ClusterOptions(work_dir=Path("/tmp/mesos"), mesos_bin=find_mesos(None))) as cluster:
        print(cluster.master, cluster.agent)

Either way it runs in processes of its own, on free loopback ports unless told otherwise, and
`stop` leaves none of them, nor any of their tasks.  Plain blocking code; one thread at a time.
Logs stay in the work directory, sandboxes in its ``agent``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

from serenity.localmesos.cluster.embedded_process import EmbeddedProcess
from serenity.localmesos.cluster.options import ClusterError, ClusterOptions
from serenity.localmesos.cluster.real_mesos import RealMesos
from serenity.wire.transport import http

__all__ = ["Cluster", "ClusterError", "ClusterOptions", "find_mesos"]

ENVIRONMENT_VARIABLE = "SERENITY_MESOS_BIN"
_BINARIES = ("mesos-master", "mesos-agent")


class Backend(Protocol):
    """How one kind of Mesos is run."""

    master: str  # "host:port"; valid once started.
    agent: str

    def start(self) -> None:
        """Returns when the agent is registered; raises ClusterError, and then nothing is left running."""

    def stop(self) -> None: ...
    def kill_master(self) -> None: ...
    def start_master(self) -> None: ...
    def kill_agent(self) -> None: ...
    def start_agent(self) -> None: ...
    def lose_agent(self) -> None: ...
    def drop_streams(self, kinds: Sequence[str]) -> None: ...
    def unavailable(self, which: str, for_s: float) -> None: ...


class Cluster:
    def __init__(self, options: ClusterOptions) -> None:
        self.options = options
        self._backend = _backend(options)

    @property
    def real(self) -> bool:
        return self.options.mesos_bin is not None

    @property
    def master(self) -> str:
        """``host:port``, once started."""
        return self._backend.master

    @property
    def agent(self) -> str:
        """``host:port``, once started."""
        return self._backend.agent

    @property
    def logs(self) -> list[Path]:
        return sorted(self.options.work_dir.glob("*.log"))

    def start(self) -> None:
        """Returns when master and agent answer and the agent is registered.

        Raises:
            ClusterError: a port in use, no root for cgroups, a flag it does not know, …
        """
        try:
            self.options.work_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ClusterError(f"cannot make {self.options.work_dir}: {error.strerror}") from error
        self._backend.start()

    def stop(self) -> None:
        """Executors are shut down within their grace period, then everything ends.  May be called twice."""
        self._backend.stop()

    # -- faults: one that this kind of Mesos cannot have raises ClusterError ---------------

    def kill_master(self) -> None:
        """Sends SIGKILL to the master of a real Mesos; agent, executors and tasks live on."""
        self._backend.kill_master()

    def start_master(self) -> None:
        """After `kill_master`: a master that knows nobody, for its registry was in memory.  Agents look for it when
        they have missed its pings for ``agent_ping_timeout`` times ``max_agent_ping_timeouts`` of the master's flags.
        """
        self._backend.start_master()

    def kill_agent(self) -> None:
        """Sends SIGKILL to the agent; executors and tasks of frameworks that checkpoint live on."""
        self._backend.kill_agent()

    def start_agent(self) -> None:
        """After `kill_agent` or `lose_agent`; returns when the agent has recovered and is registered again.

        Raises:
            ClusterError: also if the agent ended by itself, as an agent does that was marked gone.
        """
        self._backend.start_agent()

    def lose_agent(self) -> None:
        """The agent is killed, and unreachable when this returns.

        On a real Mesos that takes ``agent_ping_timeout`` times ``max_agent_ping_timeouts`` of the master's
        flags (75 s if they are not set; 1 s is the least); on the embedded one no time.
        """
        self._backend.lose_agent()

    def mark_agent_gone(self) -> None:
        """Marks the agent gone, as an operator does: it shuts down with all it runs, and is never taken back."""
        for agent in http.get_json(self._master, "/slaves")["slaves"]:
            call = {"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": agent["id"]}}}
            answer = http.request(self._master, "POST", "/api/v1", call)
            if answer.status != 200:
                raise ClusterError(f"MARK_AGENT_GONE: {answer.status} {answer.body.decode()}")

    def drop_streams(self, *kinds: str) -> None:
        """Breaks the event streams of ``scheduler``, ``executor`` or ``provider``; of all if none is named."""
        self._backend.drop_streams(kinds or ("scheduler", "executor", "provider"))

    def unavailable(self, which: str, for_s: float) -> None:
        """From now on ``master`` or ``agent`` answers every request with 503, for that long; streams go on."""
        self._backend.unavailable(which, for_s)

    @property
    def _master(self) -> http.Endpoint:
        return http.Endpoint.parse(self.master)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def find_mesos(bin_dir: str | None) -> Path | None:
    """The folder of a real Mesos: `bin_dir`, else SERENITY_MESOS_BIN, else where PATH has both; None for none.

    Raises:
        ClusterError: a folder that was named lacks one of the binaries.
    """
    for named, origin in ((bin_dir, "--mesos-bin"), (os.environ.get(ENVIRONMENT_VARIABLE), ENVIRONMENT_VARIABLE)):
        if named:
            folder = Path(named).absolute()
            missing = [name for name in _BINARIES if not os.access(folder / name, os.X_OK)]
            if missing:
                raise ClusterError(f"no {' and no '.join(missing)} in {folder} ({origin})")
            return folder
    found = [shutil.which(name) for name in _BINARIES]
    folders = {Path(each).parent for each in found if each is not None}
    return folders.pop() if None not in found and len(folders) == 1 else None


def _backend(options: ClusterOptions) -> Backend:
    if options.mesos_bin is not None:
        return RealMesos(options, options.mesos_bin)
    return EmbeddedProcess(options)
