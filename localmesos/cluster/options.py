"""What a Mesos is started with; see `cluster`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_RESOURCES = "cpus:2;mem:4096;disk:1024;ports:[31000-32000]"


class ClusterError(Exception):
    """A Mesos could not be started, or cannot do what was asked; the text is for a user."""


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What to start.

    Attributes:
        work_dir: for logs, sandboxes and checkpoints; made if it is not there.
        mesos_bin: the folder of mesos-master and mesos-agent; None for the embedded Mesos.
        cgroups: isolate by cgroups of its own, removed at the end (needs root), instead of not at all.
        agent_flags: more flags of mesos-agent, by name: a value, or None for a bare one
            (``{"no-revocable_cpu_low_priority": None}``).  They prevail over what is set here.
            The embedded Mesos follows the flags that `embedded_process` handles, and has nothing
            that the others could change.
        master_flags: the same for mesos-master.
    """

    work_dir: Path
    mesos_bin: Path | None = None
    resources: str = DEFAULT_RESOURCES
    ip: str = "127.0.0.1"
    master_port: int = 0
    agent_port: int = 0
    allocation_interval_s: float = 0.2
    cgroups: bool = False
    agent_flags: Mapping[str, str | None] = field(default_factory=dict)
    master_flags: Mapping[str, str | None] = field(default_factory=dict)
