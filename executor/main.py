"""Puts an executor together, and runs it."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path

from serenity.daemon import exits, log, open_files
from serenity.daemon.arguments import DaemonArguments
from serenity.daemon.clock import SystemClock
from serenity.daemon.settings import SettingsError, resolve
from serenity.executor.agent_link import AgentLink
from serenity.executor.corrections.actuators.by_cause import actuators_by_cause
from serenity.executor.corrections.actuators.stop_and_go import StopAndGo
from serenity.executor.corrections.corrector import Corrector
from serenity.executor.corrections.kernel_files import KernelFiles
from serenity.executor.corrections.originals import Originals
from serenity.executor.corrections.undo import undo_all
from serenity.executor.executor import Executor
from serenity.executor.inbox import Inbox, OverDisk
from serenity.executor.own_priority import OwnPriority
from serenity.executor.qos_side import QosSide
from serenity.executor.runner import TaskRunner
from serenity.executor.settings import ExecutorSettings
from serenity.executor.tasks import cgroups
from serenity.executor.tasks.cgroups import TaskCgroups
from serenity.executor.tasks.disk_watch import DiskWatch
from serenity.executor.tasks.environment import handed_on
from serenity.executor.tasks.launch import Surroundings
from serenity.executor.tasks.standing_guardian import StandingGuardian
from serenity.executor.tasks.trees import Trees
from serenity.qos.pipeline import DEFAULT_FILE, Pipeline
from serenity.qos.stages import PipelineError
from serenity.wire.mesos.executor import NotUnderMesos
from serenity.wire.messages.node import originals_folder, run_dir
from serenity.wire.transport.access import access_of
from serenity.wire.transport.libprocess import agent_access
from serenity.wire.transport.trust_files import UnusableFile

logger = logging.getLogger(__name__)

_PR_SET_CHILD_SUBREAPER = 36


def main(argv: Sequence[str]) -> int:
    parser = DaemonArguments(
        prog="serenity executor",
        description="Runs best-effort tasks on one agent.  A Mesos agent starts it; its settings are table [executor] "
        "of serenity.toml or SERENITY_EXECUTOR_* variables.",
    )
    parser.add_argument("--verbose", action="store_true", default=None, help="log more")
    parser.add_argument(
        "--undo",
        action="store_true",
        help="run nothing: undo what killed executors have left on this machine",
    )
    parser.add_argument("--run-dir", metavar="DIR", help="where the node's socket is (default /run/serenity as root)")
    arguments = parser.parse_args(argv)
    try:
        settings, _ = resolve(
            ExecutorSettings, "executor", {"verbose": arguments.verbose, "run_dir": arguments.run_dir}
        )
        log.set_up(settings.verbose)
        if arguments.undo:
            return undo(settings, os.environ)
        return run(settings, os.environ)
    except (SettingsError, PipelineError, NotUnderMesos, UnusableFile) as error:
        print(f"serenity executor: {error}", file=sys.stderr)
        return exits.USAGE
    except Exception:
        logger.exception("the executor has failed")
        return exits.BUG


def run(settings: ExecutorSettings, environ: MutableMapping[str, str]) -> int:
    """Raises PipelineError, NotUnderMesos or UnusableFile, before anything was started."""
    open_files.raise_limit()  # Main reads /proc all the time; without a file for that no task could be ended in order.
    clock = SystemClock()
    pipeline = Pipeline.load(Path(settings.pipeline) if settings.pipeline else DEFAULT_FILE)
    sandbox = Path(environ.get("MESOS_SANDBOX", "."))
    container_id = container_of(environ)
    inbox = Inbox()
    access = agent_access(environ, access_of(settings))
    link = AgentLink(environ, inbox.put, access)

    hierarchies = cgroups.find_hierarchies()
    parents = [str(each) for each in cgroups.parents(hierarchies)] if hierarchies is not None else []
    if hierarchies is not None:
        cgroups.sweep(hierarchies, clock.now_s())
    originals = begin_originals(settings, environ, container_id, parents)
    # Before our own priority is raised: it would inherit that cgroup, and still sit in it at our end.
    guardian = StandingGuardian(container_id, parents)
    priority = OwnPriority(hierarchies, container_id)
    logger.info("control process: %s", priority.raise_up())
    task_cgroups = TaskCgroups(hierarchies, container_id)
    if task_cgroups.unavailable is not None:
        logger.info("tasks have no cgroups, and are throttled by stopping them: %s", task_cgroups.unavailable)

    become_subreaper()
    trees = Trees(not_tasks=guardian)
    stop_and_go = StopAndGo(trees, clock)
    actuators = actuators_by_cause(originals, container_id, trees, stop_and_go, clock)
    corrector = Corrector(actuators, stop_and_go, clock)
    disk = DiskWatch(
        sandbox,
        settings.output_bytes,
        settings.task_kept_s,
        lambda *over: inbox.put(OverDisk(*over)),
    )
    around = surroundings(settings, environ, container_id, sandbox, priority)
    executor = Executor(
        link,
        inbox,
        settings,
        clock,
        sandbox,
        lambda say: TaskRunner(say, inbox, clock, trees, corrector, task_cgroups, disk, around),
        corrector,
    )
    qos = QosSide(settings, environ, pipeline, clock, executor, inbox.put, link, access)
    inbox.take_signals()
    try:
        link.start()
        disk.start()
        executor.run()
        return exits.OK
    finally:
        # First what would stay behind on the machine: the agent may kill us any moment now.
        priority.undo()
        originals.end()
        qos.stop()
        disk.stop()
        link.stop()
        guardian.end()
        inbox.close()


def surroundings(
    settings: ExecutorSettings, environ: Mapping[str, str], container_id: str, sandbox: Path, priority: OwnPriority
) -> Surroundings:
    """`priority`: raised already, so that it knows where we were before."""
    return Surroundings(
        container_id,
        sandbox,
        handed_on(environ),
        nice=priority.nice_before,
        lowest_priority=settings.rung0,
        task_user=settings.task_user,
        allow_root=settings.allow_root,
        pids=settings.task_pids,
        disk_bytes=settings.disk_bytes,
        fetch_s=settings.task_fetch_s,
        outside=tuple(priority.procs_files_before),
    )


def begin_originals(
    settings: ExecutorSettings, environ: Mapping[str, str], container_id: str, cgroup_parents: Sequence[str]
) -> Originals:
    """Also undoes what was left by executors that were killed."""
    folder, kernel = originals_of(settings, environ), KernelFiles()
    originals = Originals(folder, container_id, kernel, cgroup_parents)
    try:
        originals.begin()
        for each in undo_all(folder, kernel):
            if not each.alive:
                logger.warning("of an executor that was killed: %s", each)
    except OSError as error:
        logger.error("tasks are throttled by stopping them only, for what is changed must be written down: %s", error)
    return originals


def undo(settings: ExecutorSettings, environ: Mapping[str, str]) -> int:
    """`serenity executor --undo`."""
    folder = originals_of(settings, environ)
    try:
        found = undo_all(folder, KernelFiles())
    except OSError as error:
        print(f"serenity executor: {folder} cannot be read: {error.strerror}; run it as root", file=sys.stderr)
        return exits.REFUSED
    for each in found:
        print(each)
    if not found:
        print(f"nothing is left of any executor ({folder})")
    return exits.REFUSED if any(each.refused for each in found) else exits.OK


def originals_of(settings: ExecutorSettings, environ: Mapping[str, str]) -> Path:
    return originals_folder(Path(settings.run_dir) if settings.run_dir else run_dir(environ))


def container_of(environ: MutableMapping[str, str]) -> str:
    """Mesos names the sandbox for its container; the agent's side of the path, not the container's own view of it."""
    return Path(environ.get("MESOS_DIRECTORY") or environ.get("MESOS_SANDBOX", "none")).name


def become_subreaper() -> None:
    """Orphans of our tasks become our children, and cannot get away."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
