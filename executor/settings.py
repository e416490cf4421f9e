"""The executor's settings: table `[executor]` of serenity.toml, or SERENITY_EXECUTOR_* variables.

The framework hands its own `[executor]` table on as such variables in the executor's
environment; the agent host's serenity.toml fills in what it leaves open.
"""

from __future__ import annotations

from serenity.executor.guarding.guard import GuardParameters
from serenity.executor.guarding.ladder import check_policy
from serenity.wire.mesos.quantities import parse_mem_bytes


class ExecutorSettings(GuardParameters, frozen=True, kw_only=True):
    """The guard's parameters and these.  Times in seconds."""

    qos: bool = True  # Detect and correct; off, tasks just run.
    rung0: bool = True  # Start tasks at the lowest priority.
    allow_root: bool = False  # Whether an executor that is root runs tasks as root.
    task_user: str | None = None  # The user of tasks whose job names none.
    task_pids: int = 4096  # Processes and threads of one task, at most.
    task_disk: str = "10G"  # What one task may have in its sandbox.
    task_fetch_s: float = 600.0  # How long all of its URIs may take.
    task_output: str = "16M"  # Of stdout and stderr each; of earlier output as much again is kept.
    task_kept_s: float = 86400.0  # How long the sandbox of an ended task is kept; shorter where the disk is full.
    dry_run: bool = False  # Decide, say and record, but correct nothing.
    pipeline: str | None = None  # The pipeline file; None: the one that comes with Serenity.
    run_dir: str | None = None  # Where the estimator's socket is; None: as `wire.messages.node.run_dir` says.
    lease_s: float = 10.0  # The valve opens this long after the last word from us.
    evict_grace_s: float = 10.0  # An evicted task gets its own grace, but no more than this.
    verbose: bool = False
    # How the agent is spoken to where the estimator's frames are missing, and its TLS always: wire/transport/access.py.
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    principal: str | None = None
    secret_file: str | None = None

    def __post_init__(self) -> None:
        for name in (
            "watch_s",
            "recover_s",
            "step_s",
            "step_share",
            "absolve_s",
            "lease_s",
            "eviction_window_s",
            "task_fetch_s",
        ):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} = {getattr(self, name)}; it must be greater than 0")
        if self.task_pids < 1:
            raise ValueError(f"task_pids = {self.task_pids}; it must be 1 or more")
        for name in ("task_disk", "task_output"):
            try:
                parse_mem_bytes(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
        for name in ("task_kept_s", "hold_s", "harmless_cores", "evictions", "evict_grace_s"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} = {getattr(self, name)}; it must not be negative")
        if self.relapses < 1:
            raise ValueError(f"relapses = {self.relapses}; it must be 1 or more")
        check_policy(self.policy)

    @property
    def disk_bytes(self) -> int:
        return parse_mem_bytes(self.task_disk)

    @property
    def output_bytes(self) -> int:
        return parse_mem_bytes(self.task_output)
