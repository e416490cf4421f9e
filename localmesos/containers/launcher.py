"""The first processes of containers: started, waited for, and alive when their agent is not.

What Mesos' launch helper and its ``runtime_dir`` are for: an agent that was killed and is back learns here
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
        """Starts it in its sandbox, and returns its pid; other greenlets run meanwhile.

        Args:
            enter: called with the pid before the program runs: puts the process where it belongs.

        Raises:
            FileNotFoundError: the sandbox is there, the program is not.  With `enter` the process ends by itself.
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
                process.stdin.close()  # Unopened, the gate ends the process.
        return process.pid

    def wait(self, pid: int, mark: bytes) -> int | None:
        """Its status as of waitpid(2) when it has ended; None for a process of before this Mesos.

        Args:
            mark: what a process that it did not start itself has in its environment.
        """
        process = self._started.get(pid)
        if process is None:
            while pid in processes.members(processes.snapshot(), pid) and processes.carries(pid, mark):
                gevent.sleep(_POLL_S)
            return None
        returned = process.wait()
        return -returned if returned < 0 else returned << 8

    def forget(self, pid: int) -> None:
        """Nobody will ask for it again."""
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
    """The user to switch to; None where that is oneself, or only root could (--no-switch_user)."""
    if name is None or os.geteuid() != 0:
        return None
    user = pwd.getpwnam(name)
    return None if user.pw_uid == 0 else user
