"""The first processes of containers: started, waited for, and outliving their agent.

Stands for Mesos' launch helper and its ``runtime_dir``: an agent that was killed and is back learns here
how a process has ended meanwhile.  Runs on gevent.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gevent

from serenity.localmesos.containers import launch_gate, processes
from serenity.localmesos.messages import LaunchContainer

_POLL_S = 0.1


class Launcher:
    def __init__(self) -> None:
        self._started: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, launch: LaunchContainer, enter: Callable[[int], None] | None = None) -> int:
        """Starts a container's first process in its sandbox, and returns the pid; other greenlets run meanwhile.

        Args:
            enter: called with the pid before the program runs: puts the process into its cgroups.

        Raises:
            FileNotFoundError: the sandbox exists, the program does not.  With `enter` the process just ends instead.
            OSError
            KeyError: an unknown user.
            ValueError: URIs, or a NUL in the command.
        """
        if launch.uris:
            raise ValueError(f"localmesos fetches no URIs, such as {launch.uris[0]}")
        user = _other_user(launch.user)
        _make_sandbox(launch.sandbox, user)
        process = _spawn(launch, user, gated=enter is not None)
        self._started[process.pid] = process
        if enter is not None:
            assert process.stdin is not None
            try:
                enter(process.pid)
                process.stdin.write(launch_gate.OPEN)
            finally:
                process.stdin.close()  # A gate that was not opened ends the process.
        return process.pid

    def wait(self, pid: int, mark: bytes) -> int | None:
        """Waits for a process; returns its status as of waitpid(2), or None if this launcher did not start it.

        Args:
            mark: the variable by which a process that this launcher did not start is recognised.
        """
        process = self._started.get(pid)
        if process is None:
            while pid in processes.members(processes.snapshot(), pid) and processes.carries(pid, mark):
                gevent.sleep(_POLL_S)
            return None
        returned = process.wait()
        return -returned if returned < 0 else returned << 8

    def forget(self, pid: int) -> None:
        """Nobody will wait for this process again."""
        self._started.pop(pid, None)


def _make_sandbox(sandbox: Path, user: pwd.struct_passwd | None) -> None:
    sandbox.mkdir(parents=True, mode=0o750)
    latest = sandbox.parent / "latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(sandbox)
    for name in ("stdout", "stderr"):
        (sandbox / name).touch()
    if user is not None:
        for path in (sandbox, sandbox / "stdout", sandbox / "stderr"):
            shutil.chown(path, user.pw_uid, user.pw_gid)


def _spawn(launch: LaunchContainer, user: pwd.struct_passwd | None, gated: bool) -> subprocess.Popen[bytes]:
    argv, program = list(launch.argv), launch.program
    if gated:
        argv, program = launch_gate.gated(program, argv), sys.executable
    with (
        launch.sandbox.joinpath("stdout").open("ab") as stdout,
        launch.sandbox.joinpath("stderr").open("ab") as stderr,
    ):
        return subprocess.Popen(
            argv,
            executable=program,
            cwd=launch.sandbox,
            env=dict(launch.environment),
            stdin=subprocess.PIPE if gated else subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
        )


def _other_user(name: str | None) -> pwd.struct_passwd | None:
    """The user to switch to; None for root itself, and where this is not root's process (--no-switch_user)."""
    if name is None or os.geteuid() != 0:
        return None
    user = pwd.getpwnam(name)
    return None if user.pw_uid == 0 else user
