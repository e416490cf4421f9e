"""Starts a task's command: its sandbox, environment, user; then `child` takes over in a process of its own."""

from __future__ import annotations

import errno
import marshal
import os
import shutil
import signal
import stat
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from serenity.daemon import open_files
from serenity.executor.tasks.child import FAILURE_FIELDS, cut
from serenity.executor.tasks.environment import environment
from serenity.executor.tasks.task import Failure
from serenity.executor.tasks.users import UnusableUser, User, user_of
from serenity.wire.mesos.quantities import format_mem
from serenity.wire.messages.reasons import Reason
from serenity.wire.messages.sandbox import output_file, task_folder
from serenity.wire.messages.task_spec import TaskSpec
from serenity.wire.messages.uris import Uri

_CHILD = Path(__file__).with_name("child.py")
# A folder without read permission still lets a user through to a task folder of its own.
_TASKS_MODE = 0o711
_FAILURE_BYTES = 64 * 1024  # Two words of `child`, each character of them escaped.
# This agent lacks something that another agent may have, or this agent later.
_AGENT_LACKS = frozenset(
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EROFS", "EIO", "EMFILE", "ENFILE", "ENOMEM", "EAGAIN")
)


class LaunchError(Exception):
    """The command could not be started."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.failure = Failure(reason, text)


@dataclass(frozen=True, slots=True)
class Plan:
    """What `child` does, in this order, to become the command."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    cgroups: tuple[str, ...]  # ``cgroup.procs`` files to write itself into.
    nice: int
    lowest_priority: bool
    user: User | None
    open_files: tuple[int, int] | None  # RLIMIT_NOFILE, soft and hard; None: as it is.
    parent: int
    uris: tuple[dict[str, Any], ...]  # Fetched as the task, before its command is run.
    disk_bytes: int
    fetch_s: float


@dataclass(frozen=True, slots=True)
class Launched:
    """`report` is a pipe: it ends without a word when the command runs, and says what is wrong when it does not."""

    pid: int
    report: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is the same for all tasks of this executor."""

    container_id: str
    sandbox: Path  # The executor's own.
    environment: Mapping[str, str]  # The part of the executor's that tasks inherit.
    nice: int
    lowest_priority: bool  # Rung 0.
    task_user: str | None
    allow_root: bool
    pids: int  # The most processes and threads of one task.
    disk_bytes: int  # The most that one task may have in its sandbox.
    fetch_s: float  # How long it may take to fetch what a task wants to find there.
    outside: tuple[str, ...] = ()  # ``cgroup.procs`` files for tasks that have no cgroup of their own.


def launch(task_id: str, spec: TaskSpec, around: Surroundings, cgroups: Sequence[str]) -> Launched:
    """Must be called in the main thread: the child dies when the thread that made it ends.

    Raises:
        LaunchError
    """
    try:
        user = user_of(spec.user, around.task_user, around.allow_root)
        _require_disk(spec, around)
        folder = _make_sandbox(around.sandbox, task_id, user)
        plan = Plan(
            argv=spec.argv,
            env=environment(task_id, spec, folder, around.container_id, around.environment, user),
            cwd=str(folder),
            cgroups=tuple(cgroups),
            nice=around.nice,
            lowest_priority=around.lowest_priority,
            user=user,
            open_files=open_files.inherited(),
            parent=os.getpid(),
            uris=tuple(_uri(each) for each in spec.uris),
            disk_bytes=spec.disk_bytes or around.disk_bytes,
            fetch_s=around.fetch_s,
        )
        try:
            return _spawn(plan, around.sandbox, task_id, user)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # Of a task that never was; nobody else would.
            raise
    except UnusableUser as error:
        raise LaunchError(error.reason, str(error)) from None
    except OSError as error:
        reason = Reason.LAUNCH_REFUSED if error.errno in _AGENT_LACKS else Reason.LAUNCH_FAILED
        raise LaunchError(reason, f"the task could not be started: {error}") from error


def read_report(report: int, argv: Sequence[str]) -> Failure | None:
    """What went wrong; None when the command runs.  Closes the pipe.  Blocks until there is an answer."""
    with os.fdopen(report, "rb") as pipe:
        text = pipe.read(_FAILURE_BYTES)
    if not text:
        return None
    words = text.decode(errors="replace").split("\0")
    failure, command = dict(zip(FAILURE_FIELDS, words, strict=False)), cut(argv[0])
    number = int(failure["errno"]) if failure.get("errno", "").isdecimal() else None
    if failure["doing"] == "run" and number == errno.ENOENT and "/" not in command:
        return Failure(Reason.LAUNCH_FAILED, f"command not found: {command}")
    if failure["doing"] == "run" and number == errno.EACCES:
        return Failure(Reason.LAUNCH_FAILED, f"cannot run {command}: not executable ({failure['text']})")
    if failure["doing"] == "fetch":
        # Of the server or the way to it; or what was asked for is not there.
        reason = Reason.LAUNCH_REFUSED if failure.get("elsewhere") else Reason.LAUNCH_FAILED
        return Failure(reason, f"cannot fetch {failure['file']}: {failure['text']}")
    about = command if failure["file"] in ("", command) else f"{command} ({failure['file']})"
    # Whatever comes before the command is the agent's.
    reason = Reason.LAUNCH_REFUSED if failure["doing"] == "prepare" else Reason.LAUNCH_FAILED
    return Failure(reason, f"cannot {failure['doing']} {about}: {failure['text']}")


def _require_disk(spec: TaskSpec, around: Surroundings) -> None:
    if spec.disk_bytes is None:
        return
    if spec.disk_bytes > around.disk_bytes:
        most = f"no task may have more than {format_mem(around.disk_bytes)} ([executor] task_disk)"
        raise LaunchError(
            Reason.LAUNCH_REFUSED, f"it asks for {format_mem(spec.disk_bytes)} of disk; on this agent {most}"
        )
    disk = os.statvfs(around.sandbox)
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes < spec.disk_bytes:
        text = f"it asks for {format_mem(spec.disk_bytes)} of disk, and {format_mem(free_bytes)} is free on this agent"
        raise LaunchError(Reason.LAUNCH_REFUSED, text)


def _uri(uri: Uri) -> dict[str, Any]:
    said = {"shown": uri.shown, "file_name": uri.file_name, "is_archive": uri.is_archive}
    return {**msgspec.to_builtins(uri), **said}


def _make_sandbox(executor_sandbox: Path, task_id: str, user: User | None) -> Path:
    if task_id in ("", ".", "..") or "/" in task_id or "\0" in task_id:
        raise LaunchError(Reason.LAUNCH_FAILED, f"{task_id!r} is no name for a sandbox")
    folder = executor_sandbox / task_folder(task_id)
    if not folder.parent.exists():
        folder.parent.mkdir()
        folder.parent.chmod(_TASKS_MODE)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise LaunchError(Reason.LAUNCH_REFUSED, f"{task_id} has run here before; it is not run twice") from None
    if user is not None:
        # Mesos closes an executor's sandbox to other users.  Tasks' users must get through, but not see what is in it.
        executor_sandbox.chmod(stat.S_IMODE(executor_sandbox.stat().st_mode) | stat.S_IXOTH)
        os.chown(folder, user.uid, user.gid)
    return folder


def _spawn(plan: Plan, sandbox: Path, task_id: str, user: User | None) -> Launched:
    opened: list[int] = []
    try:
        plan_file = os.memfd_create("plan")  # Not on disk, and not in the command line: the environment may be secret.
        opened.append(plan_file)
        os.write(plan_file, marshal.dumps(asdict(plan)))
        os.lseek(plan_file, 0, os.SEEK_SET)
        outputs = []
        for name in ("stdout", "stderr"):
            path = sandbox / output_file(task_id, name)
            outputs.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o644))
            opened.append(outputs[-1])
            if user is not None:
                os.fchown(outputs[-1], user.uid, user.gid)
        report, failure = os.pipe()
        opened.append(failure)
        try:
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-X", "utf8", str(_CHILD)],
                {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, source, target)
                    for target, source in enumerate((plan_file, outputs[0], outputs[1], failure))
                ],
                setsid=True,
                setsigmask=[],
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP],
            )
        except OSError:
            os.close(report)
            raise
        return Launched(pid, report)
    finally:
        for each in opened:
            os.close(each)
