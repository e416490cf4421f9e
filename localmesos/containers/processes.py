"""Process trees as ``/proc`` shows them: which processes belong to a container, and how to end them all.

A process belongs to a container when it descends from the container's first process, is in its
session, or carries the container's mark in its environment; and so do its own descendants.
The mark finds processes that left both the tree and the session (a daemon forks twice and calls
setsid).  A process that does that *and* replaces its environment is not found; with cgroups
it would be.

Plain blocking code, used under gevent, in the command executor and by `cluster.Cluster`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_ENDED = frozenset("ZX")  # A zombie waits for its parent only; there is nothing left to kill.
_ROUND_S = 0.01


@dataclass(frozen=True, slots=True)
class Process:
    """One line of ``/proc/PID/stat`` (proc(5)), in seconds and bytes."""

    pid: int
    parent: int
    session: int
    state: str
    started_ticks: int  # Since boot; with the pid it identifies a process for good.
    user_s: float
    system_s: float
    threads: int
    rss_bytes: int


def snapshot() -> dict[int, Process]:
    """Every process that can be seen, by pid."""
    processes = (_read(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {process.pid: process for process in processes if process is not None}


def members(table: dict[int, Process], root_pid: int | None, mark: bytes | None = None) -> set[int]:
    """Pids of live processes that belong to the container of `root_pid`, or carry `mark`.

    Args:
        root_pid: the container's first process, the leader of its session; it may have ended.
        mark: the beginning of a variable, such as ``b"MESOS_SANDBOX=/…"``.
    """
    found = {p.pid for p in table.values() if root_pid is not None and root_pid in (p.pid, p.session)}
    if mark is not None:
        found |= {pid for pid in table if carries(pid, mark)}
    return {pid for pid in found | _descendants(table, found) if table[pid].state not in _ENDED}


def kill_all(
    find: Callable[[], set[int]], thaw: Callable[[], None] = lambda: None, patience_s: float = 10.0
) -> set[int]:
    """SIGKILLs the processes that `find` returns until all are gone; returns those left after `patience_s`.

    All are stopped before any is killed: a tree that is killed one by one could fork on.  Killed processes are waited
    for by pid: a process that is ending loses its environment some time before it is gone, so that `find` misses it.

    `thaw` lets frozen processes go on: frozen, they do not even die.  It comes after SIGKILL, when all they do is die.
    """
    deadline = time.monotonic() + patience_s
    killed: dict[int, int] = {}  # By pid, when it was started.
    while True:
        stopped: set[int] = set()
        while unseen := find() - stopped:
            send(signal.SIGSTOP, unseen)
            stopped |= unseen
        table = snapshot()
        killed |= {pid: table[pid].started_ticks for pid in stopped & table.keys()}
        send(signal.SIGKILL, stopped)
        thaw()
        ending = {pid for pid, started_ticks in killed.items() if _is_alive(table, pid, started_ticks)}
        if not stopped | ending:
            return set()
        if time.monotonic() > deadline:
            return stopped | ending
        time.sleep(_ROUND_S)


def _is_alive(table: dict[int, Process], pid: int, started_ticks: int) -> bool:
    process = table.get(pid)
    return process is not None and process.started_ticks == started_ticks and process.state not in _ENDED


def send(signum: signal.Signals, pids: Iterable[int]) -> None:
    """Signals each process that still exists and may be signalled."""
    for pid in pids:
        try:
            os.kill(pid, signum)
        except (ProcessLookupError, PermissionError):
            continue


def _descendants(table: dict[int, Process], roots: set[int]) -> set[int]:
    children: dict[int, list[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    frontier = list(roots)
    while frontier:
        new = [pid for pid in children.get(frontier.pop(), []) if pid not in found]
        found.update(new)
        frontier.extend(new)
    return found


def _read(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None  # It has ended since the listing.
    fields = text.rpartition(")")[2].split()  # The name before it may hold spaces and parentheses.
    return Process(
        pid=pid,
        state=fields[0],
        parent=int(fields[1]),
        session=int(fields[3]),
        user_s=int(fields[11]) / _TICKS_PER_S,
        system_s=int(fields[12]) / _TICKS_PER_S,
        threads=int(fields[17]),
        started_ticks=int(fields[19]),
        rss_bytes=int(fields[21]) * _PAGE_BYTES,
    )


def carries(pid: int, mark: bytes) -> bool:
    """Whether a variable in the process's environment begins with `mark`."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False  # Ended, or another user's.
    return any(variable.startswith(mark) for variable in environment.split(b"\0"))
