"""Ends what a killed executor leaves: a small process beside it that waits for its end.

PR_SET_PDEATHSIG reaches only a task's first process, and without a cgroup of its own nobody
ends the others when the executor gets SIGKILL: the job would go on here while the framework
runs it again elsewhere.

This file is both sides: `Guardian` is the executor's; run by path, with the standard
library alone, it is the process.  The process reads file 0, of which the executor holds the
other end, until it closes.  Then it kills every process whose environment bears the mark or that
sits in one of the executor's cgroups (an environment can be dropped, a cgroup cannot), and
removes these cgroups.  It has left the container's own cgroups before: Mesos kills all processes
that it finds in them, and would not wait for this one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

TYPE_CHECKING = False  # As typing's own, which takes its time to import.
if TYPE_CHECKING:
    from collections.abc import Iterable

# In the environment of every task; its value names the executor's container.
MARK = "SERENITY_CONTAINER"
# Of the name of every cgroup that the executor makes.
CGROUP_PREFIX = "serenity-"
_ROUNDS = 50
# Best effort has the lowest priority: on a busy machine even its end takes its time.
_REMOVE_WITHIN_S = 60.0
_REMOVE_AGAIN_S = 0.05
_LAST_LOOK_S = 1.0


class Guardian:
    """One process.  `standing_guardian.py` says what follows when it ends itself."""

    def __init__(self, container_id: str, cgroup_parents: Iterable[str]) -> None:
        """`cgroup_parents`: folders below which the executor makes cgroups named for its container.

        Raises OSError when the process cannot be started.
        """
        reader, self._writer = os.pipe()
        try:
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", __file__, container_id, *cgroup_parents],
                {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"},
                file_actions=[(os.POSIX_SPAWN_DUP2, reader, 0)],
                setsid=True,
                setsigmask=[],
                setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGHUP],
            )
        finally:
            os.close(reader)

    def end(self) -> None:
        """Waits until the process has looked a last time; where that takes long it goes on alone.  Main thread only."""
        self.let_go()
        deadline_s = time.monotonic() + _LAST_LOOK_S
        with contextlib.suppress(ChildProcessError):  # It was killed, and reaped with the others.
            while os.waitpid(self.pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline_s:
                time.sleep(0.01)

    def let_go(self) -> None:
        """The process does its work, if it lives, and is not waited for."""
        os.close(self._writer)


def leave_container(container_id: str) -> None:
    """Moves this process from the container's cgroups into the roots of their hierarchies."""
    with open("/proc/self/cgroup") as file:
        controllers = [line.split(":", 2)[1] for line in file if container_id in line]
    with open("/proc/self/mounts") as file:
        mounts = [line.split()[1:4] for line in file]
    for folder, kind, options in mounts:
        v1 = kind == "cgroup" and any(set(each.split(",")) <= set(options.split(",")) for each in controllers if each)
        if v1 or (kind == "cgroup2" and "" in controllers):
            # Without the right to move, it ends with the container, whose processes Mesos kills itself.
            with contextlib.suppress(OSError), open(os.path.join(folder, "cgroup.procs"), "w") as procs:
                procs.write("0")


def kill_left(container_id: str, parents: list[str]) -> None:
    """Stops all processes before it kills any: a stopped process cannot fork away."""
    mark = f"{MARK}={container_id}".encode()

    def left() -> set[int]:
        inside = {pid for folder in _cgroups(container_id, parents) for pid in _members(folder)}
        return {pid for pid in _pids() if pid in inside or _is_marked(pid, mark)}

    for folder in _cgroups(container_id, parents):
        _write(folder, "pids.max", "0")  # What forks and exits all the time is gone before a signal comes.
    found: set[int] = set()
    for _ in range(_ROUNDS):
        new = left() - found
        if not new:
            break
        found |= new
        for pid in new:
            _send(pid, signal.SIGSTOP)
    for pid in found & left():  # Still the same: pids are reused.
        _send(pid, signal.SIGKILL)
    for folder in _cgroups(container_id, parents):
        _thaw(folder)


def remove_cgroups(container_id: str, parents: list[str], within_s: float = _REMOVE_WITHIN_S) -> list[str]:
    """Removes the cgroups named for the container; the kernel may let go of the last process late.  Which are left."""
    deadline_s = time.monotonic() + within_s
    while (left := _cgroups(container_id, parents)) and time.monotonic() < deadline_s:
        for folder in left:
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        time.sleep(_REMOVE_AGAIN_S)
    return left


def _cgroups(container_id: str, parents: list[str]) -> list[str]:
    return [os.path.join(each, name) for each in parents for name in _names(each) if container_id in name]


def _members(cgroup: str) -> list[int]:
    try:
        with open(os.path.join(cgroup, "cgroup.procs")) as file:
            return [int(line) for line in file]
    except OSError:  # Gone meanwhile.
        return []


def _thaw(cgroup: str) -> None:
    """On v1 a frozen process does not even die."""
    for name, thawed in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        _write(cgroup, name, thawed)


def _write(cgroup: str, name: str, value: str) -> None:
    """Where there is such a file: on v1 each controller has a folder of its own."""
    with contextlib.suppress(OSError), open(os.path.join(cgroup, name), "r+") as file:
        file.write(value)


def _names(folder: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.startswith(CGROUP_PREFIX)]
    except OSError:  # The container's own cgroup, gone with it.
        return []


def _pids() -> list[int]:
    own = os.getpid()
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) != own]


def _is_marked(pid: int, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return mark in file.read().split(b"\0")
    except OSError:  # Gone, or another user's.
        return False


def _send(pid: int, signum: signal.Signals) -> None:
    with contextlib.suppress(OSError):  # Gone meanwhile, or become another user's.
        os.kill(pid, signum)


if __name__ == "__main__":
    os.closerange(1, 1 << 20)
    container, *cgroup_folders = sys.argv[1:]
    leave_container(container)
    while os.read(0, 4096):
        pass
    kill_left(container, cgroup_folders)
    remove_cgroups(container, cgroup_folders)
