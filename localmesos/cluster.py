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
from pathlib import Path
from typing import Protocol, Self

from serenity.localmesos.cluster_options import ClusterError, ClusterOptions
from serenity.localmesos.embedded_process import EmbeddedProcess
from serenity.localmesos.real_mesos import RealMesos

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
    def kill_agent(self) -> None: ...
    def start_agent(self) -> None: ...


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
        """Returns when both answer and the agent is registered.

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

    def kill_agent(self) -> None:
        """SIGKILL to the agent; its executors and tasks live on.  Raises ClusterError on the embedded one."""
        self._backend.kill_agent()

    def start_agent(self) -> None:
        """After `kill_agent`; returns when it is registered again.  Raises ClusterError."""
        self._backend.start_agent()

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
