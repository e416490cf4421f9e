"""Processes as /proc shows them, by pid and start time: a reused pid is never taken for the old process.

Every function takes a process that ends while it is looked at as gone; that is the
normal course of things here.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from serenity.qos.sources.cgroups import memberships

_PROC = Path("/proc")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_GONE = (FileNotFoundError, ProcessLookupError)
# A kernel without CONFIG_PROC_CHILDREN lacks the file; then all of /proc is read instead.
_HAS_CHILDREN_FILE = Path(f"/proc/self/task/{os.getpid()}/children").exists()


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    start_ticks: int  # Since boot; with the pid it identifies a process.


@dataclass(frozen=True, slots=True)
class Status:
    process: Process
    state: str  # As in proc(5): R, S, D, Z, T, …
    parent: int
    session: int
    threads: int
    virtual_bytes: int  # 0 from the moment when it begins to end; then it has no environment, either.
    resident_bytes: int  # What it shares with others included.

    @property
    def alive(self) -> bool:
        """A zombie runs nothing and takes no signal, unless it is only the first of several threads that has ended."""
        return self.state not in ("Z", "X") or self.threads > 1


def read(pid: int) -> Status | None:
    """None when there is no such process."""
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except _GONE:
        return None
    # The command's name stands in parentheses, and may hold spaces and parentheses itself.
    fields = text[text.rindex(")") + 2 :].split()
    return Status(
        Process(pid, int(fields[19])),
        fields[0],
        parent=int(fields[1]),
        session=int(fields[3]),
        threads=int(fields[17]),
        virtual_bytes=int(fields[20]),
        resident_bytes=int(fields[21]) * _PAGE_BYTES,
    )


def children(pid: int) -> list[int]:
    """Pids of the direct children, zombies included."""
    if not _HAS_CHILDREN_FILE:
        found = (read(int(entry.name)) for entry in _PROC.iterdir() if entry.name.isdigit())
        return [each.process.pid for each in found if each is not None and each.parent == pid]
    pids: list[int] = []
    try:
        threads = list((_PROC / str(pid) / "task").iterdir())
    except _GONE:
        return []
    for thread in threads:
        try:
            pids += map(int, (thread / "children").read_text().split())
        except _GONE:
            continue
    return pids


def with_descendants(pid: int) -> list[Status]:
    """The process and all below it, zombies left out."""
    found = []
    pending = [pid]
    while pending:
        status = read(pending.pop())
        if status is not None:
            if status.alive:
                found.append(status)
            pending += children(status.process.pid)
    return found


def threads(pid: int) -> list[int]:
    """Ids of its threads; empty when it is gone."""
    try:
        return [int(each) for each in os.listdir(_PROC / str(pid) / "task")]
    except _GONE:
        return []


def is_stopping(pid: int) -> bool:
    """Whether it has been sent a SIGSTOP that it runs no instruction of its own after: on a busy machine a process
    at the lowest priority takes its time to get the CPU that it needs to stop.  True when it is gone.
    """
    try:
        status = (_PROC / str(pid) / "status").read_text()
        pending = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("ShdPnd:"))
        # The first thread that takes the signal stops the others.
        return bool(pending >> (signal.SIGSTOP - 1) & 1) or any(
            (_PROC / str(pid) / "task" / str(thread) / "stat").read_text().rpartition(")")[2].split()[0] == "T"
            for thread in threads(pid)
        )
    except _GONE:
        return True


def proportional_bytes(pid: int) -> int | None:
    """Resident memory, shared pages divided among the sharers; None when it may not be read, or the process is gone.

    The kernel walks all of its pages for that: some milliseconds a GiB.
    """
    try:
        text = (_PROC / str(pid) / "smaps_rollup").read_text()
    except (*_GONE, PermissionError):
        return None
    return next((int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:")), None)


def variable(pid: int, name: str) -> str | None:
    """A variable of the environment that the process was started with; None also when it may not be read."""
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except (*_GONE, PermissionError):
        return None
    prefix = f"{name}=".encode()
    for entry in environment.split(b"\0"):
        if entry.startswith(prefix):
            return entry[len(prefix) :].decode(errors="replace")
    return None


def cgroups(pid: int) -> list[tuple[str, str]]:
    """Those that it is in, by v1 controller or `V2`, and path; empty when it is gone."""
    try:
        return list(memberships((_PROC / str(pid) / "cgroup").read_bytes()).items())
    except _GONE:
        return []


def send(process: Process, signum: signal.Signals) -> bool:
    """Signals exactly this process; False when it is gone.

    Raises:
        PermissionError: it has become another user's (a set-user-id program).
    """
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        status = read(process.pid)
        if status is None or status.process != process:
            return False
        signal.pidfd_send_signal(handle, signum)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
