"""Puts an executor together, and runs it."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path

from serenity.daemon import log
from serenity.daemon.arguments import DaemonArguments
from serenity.daemon.clock import SystemClock
from serenity.daemon.settings import SettingsError, resolve
from serenity.executor import cgroups
from serenity.executor.actuators.cpu_quota import CpuQuota
from serenity.executor.actuators.duty_cycle import DutyCycle
from serenity.executor.agent_link import AgentLink
from serenity.executor.cgroups import TaskCgroups
from serenity.executor.corrector import Corrector
from serenity.executor.executor import Executor
from serenity.executor.guardian import Guardian
from serenity.executor.inbox import Inbox
from serenity.executor.launch import Surroundings
from serenity.executor.own_priority import OwnPriority
from serenity.executor.qos_side import QosSide
from serenity.executor.runner import TaskRunner
from serenity.executor.settings import ExecutorSettings
from serenity.executor.trees import Trees
from serenity.qos.pipeline import DEFAULT_FILE, Pipeline
from serenity.qos.stages import PipelineError
from serenity.wire.access import access_of
from serenity.wire.executor import NotUnderMesos
from serenity.wire.libprocess import agent_access
from serenity.wire.trust_files import UnusableFile

logger = logging.getLogger(__name__)

_OK, _FAILED, _USAGE = 0, 1, 2
_PR_SET_CHILD_SUBREAPER = 36


def main(argv: Sequence[str]) -> int:
    parser = DaemonArguments(
        prog="serenity executor",
        description="Runs best-effort tasks on one agent.  A Mesos agent starts it; its settings are table [executor] "
        "of serenity.toml or SERENITY_EXECUTOR_* variables.",
    )
    parser.add_argument("--verbose", action="store_true", default=None, help="log more")
    arguments = parser.parse_args(argv)
    try:
        settings, _ = resolve(ExecutorSettings, "executor", {"verbose": arguments.verbose})
        log.set_up(settings.verbose)
        return run(settings, os.environ)
    except (SettingsError, PipelineError, NotUnderMesos, UnusableFile) as error:
        print(f"serenity executor: {error}", file=sys.stderr)
        return _USAGE
    except Exception:
        logger.exception("the executor has failed")
        return _FAILED


def run(settings: ExecutorSettings, environ: MutableMapping[str, str]) -> int:
    """Raises PipelineError, NotUnderMesos or UnusableFile, before anything was started."""
    clock = SystemClock()
    pipeline = Pipeline.load(Path(settings.pipeline) if settings.pipeline else DEFAULT_FILE)
    sandbox = Path(environ.get("MESOS_SANDBOX", "."))
    container_id = container_of(environ)
    inbox = Inbox()
    access = agent_access(environ, access_of(settings))
    link = AgentLink(environ, inbox.put, access)

    hierarchy = cgroups.find_hierarchy()
    if hierarchy is not None:
        cgroups.sweep(hierarchy, clock.now_s())
    # Before our own priority is raised: what it inherits it would sit in at our end.
    guardian = Guardian(container_id, map(str, cgroups.parents(hierarchy) if hierarchy is not None else ()))
    priority = OwnPriority(hierarchy, container_id)
    logger.info("control process: %s", priority.raise_up())
    task_cgroups = TaskCgroups(hierarchy, container_id)
    if task_cgroups.unavailable is not None:
        logger.info("tasks have no cgroups, and are throttled by stopping them: %s", task_cgroups.unavailable)

    become_subreaper()
    trees = Trees(not_tasks=(guardian.pid,))
    duty_cycle = DutyCycle(trees, clock.monotonic_s)
    corrector = Corrector((CpuQuota(), duty_cycle))
    around = Surroundings(container_id, sandbox, priority.nice_before, settings.rung0)
    executor = Executor(
        link,
        inbox,
        settings,
        clock,
        sandbox,
        lambda say: TaskRunner(say, inbox, clock, trees, corrector, task_cgroups, around, priority.procs_files_before),
        corrector,
        duty_cycle,
    )
    qos = QosSide(settings, environ, pipeline, clock, executor, inbox.put, link, access)
    inbox.take_signals()
    try:
        link.start()
        executor.run()
        return _OK
    finally:
        # First what would stay behind on the machine: the agent may kill us any moment now.
        priority.undo()
        qos.stop()
        link.stop()
        guardian.end()
        inbox.close()


def container_of(environ: MutableMapping[str, str]) -> str:
    """Mesos names the sandbox for its container; the agent's side of the path, not the container's own view of it."""
    return Path(environ.get("MESOS_DIRECTORY") or environ.get("MESOS_SANDBOX", "none")).name


def become_subreaper() -> None:
    """Orphans of our tasks become our children, and cannot get away."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
