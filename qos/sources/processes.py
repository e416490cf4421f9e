"""Processes by /proc: those of a container that has no cgroup of its own, and what they used."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from serenity.qos.sources.turns import Turns

_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    parent: int
    session: int
    own_cpu_s: float  # utime + stime.
    children_cpu_s: float  # cutime + cstime: of children it has waited for, and their children.
    started: int  # Ticks since boot; with the pid it names a process for good.
    rss_bytes: int

    @classmethod
    def parse(cls, stat: bytes) -> Process:
        """Reads proc(5) ``/proc/PID/stat``; the command may hold spaces and parentheses."""
        pid, _, rest = stat.partition(b" (")
        fields = rest[rest.rindex(b")") + 2 :].split()
        return cls(
            pid=int(pid),
            parent=int(fields[1]),
            session=int(fields[3]),
            own_cpu_s=(int(fields[11]) + int(fields[12])) * _TICK_S,
            children_cpu_s=(int(fields[13]) + int(fields[14])) * _TICK_S,
            started=int(fields[19]),
            rss_bytes=int(fields[21]) * PAGE_BYTES,
        )


class ProcessTable:
    """All processes at one moment."""

    def __init__(self, processes: Iterable[Process]) -> None:
        self.by_pid: Mapping[int, Process] = {each.pid: each for each in processes}

    @classmethod
    def look(cls, proc: Path = Path("/proc"), turns: Turns | None = None) -> ProcessTable:
        found, turns = [], turns or Turns()
        for name in os.listdir(proc):
            turns.give()
            if name.isdigit():
                try:
                    with open(f"{proc}/{name}/stat", "rb") as file:
                        found.append(Process.parse(file.read()))
                except (FileNotFoundError, ProcessLookupError):
                    continue  # The process ended after listdir.
                except PermissionError:
                    continue  # Another user's, where /proc is mounted with hidepid=1.
        return cls(found)

    @cached_property
    def children(self) -> Mapping[int, list[int]]:
        found = defaultdict(list)
        for each in self.by_pid.values():
            found[each.parent].append(each.pid)
        return found

    @cached_property
    def sessions(self) -> Mapping[int, list[int]]:
        found = defaultdict(list)
        for each in self.by_pid.values():
            found[each.session].append(each.pid)
        return found


class ProcessTree:
    """The processes of one container: the descendants of its first process, and all members of the sessions they led.

    An orphaned daemon becomes init's child, but stays in its session; sessions are
    remembered for as long as they have a member.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._started: int | None = None
        self._sessions: set[int] = set()
        self._usage = TreeCpu()

    def members(self, table: ProcessTable) -> list[Process]:
        """Empty when all processes have ended, even if another process has got the first one's pid."""
        pending = [member for session in self._sessions for member in table.sessions.get(session, [])]
        root = table.by_pid.get(self._pid)
        if root is not None and self._started in (None, root.started):
            self._started = root.started
            pending.append(self._pid)
        members: dict[int, Process] = {}
        while pending:
            pid = pending.pop()
            if pid in members or pid not in table.by_pid:
                continue
            process = members[pid] = table.by_pid[pid]
            pending += table.children.get(pid, [])
            if process.session == pid:
                pending += table.sessions[pid]
        self._sessions = {each.session for each in members.values() if each.session in members} | {
            session for session in self._sessions if session in table.sessions
        }
        return list(members.values())

    def cpu_s(self, members: Collection[Process]) -> float:
        return self._usage.take(members)


class TreeCpu:
    """CPU time of a changing set of processes, as one counter that never falls.

    A child's time appears in its parent's children's time once the parent has waited for it.
    Where no process of the tree does (SIGCHLD ignored, an orphan reaped by init), the child's
    last known time is kept:

        counter = kept + Σ (own + children) over living processes
        kept   += max(0, Σ (own + children) of vanished processes - Σ growth of children over living processes)

    Only in that case the time that a process uses between the last look and its end is lost.
    """

    def __init__(self) -> None:
        self._kept_s = 0.0
        self._before: dict[tuple[int, int], Process] = {}

    def take(self, members: Collection[Process]) -> float:
        now = {(each.pid, each.started): each for each in members}
        vanished_s = sum(_total(self._before[key]) for key in self._before.keys() - now.keys())
        inherited_s = sum(
            now[key].children_cpu_s - self._before[key].children_cpu_s for key in now.keys() & self._before.keys()
        )
        self._kept_s += max(0.0, vanished_s - inherited_s)
        self._before = now
        return self._kept_s + sum(map(_total, members))


def _total(process: Process) -> float:
    return process.own_cpu_s + process.children_cpu_s
