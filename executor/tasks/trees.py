"""Which processes belong to which task, also those that left its session or lost their parent.

The executor is a child subreaper, so every process of every task is its descendant, always:
below a task's leader, or, when its own parent has ended, directly below the executor.
Whose such an orphan is shows from its cgroup, or where tasks have none, from earlier looks, its session, and its
environment.  One that has got rid of all three at once may be any task's that was there when it began.
"""

from __future__ import annotations

import logging
import math
import os
import signal
from collections.abc import Callable, Container

from serenity.executor.tasks import processes
from serenity.executor.tasks.cgroups import OwnedCgroup
from serenity.executor.tasks.processes import Process, Status
from serenity.qos.sources.cgroups import V2

logger = logging.getLogger(__name__)

# In the environment of every task; what an orphan inherited says whose it is.
TASK_VARIABLE = "SERENITY_TASK"
# A tree that forks faster than we stop it is met again at the next deadline.
_STOP_ROUNDS = 20


class Trees:
    """`owner` is the subreaper's pid; children of it in `not_tasks` are left alone."""

    def __init__(self, owner: int | None = None, not_tasks: Container[int] = ()) -> None:
        self._owner = owner if owner is not None else os.getpid()
        self._leaders: dict[int, str] = {}  # By pid; until it is reaped: then another may have it.
        self._sessions: dict[int, str] = {}  # A session keeps its number as long as it has a member.
        self._known: dict[Process, str] = {}
        self._cgroups: dict[tuple[str, str], str] = {}  # By hierarchy and path; the tasks' own.
        self._began: dict[str, int] = {}  # By task, in clock ticks since boot: it has no older process.
        self._not_tasks = not_tasks

    def add(self, task_id: str, leader: int, cgroup: OwnedCgroup | None = None) -> None:
        """`leader` leads a session of its own; `cgroup`: one that no other task's processes are in."""
        self._leaders[leader] = self._sessions[leader] = task_id
        if cgroup is not None:
            self._cgroups[V2 if cgroup.v2 else "cpu", cgroup.path] = task_id
        status = processes.read(leader)
        if status is not None:
            self._began[task_id] = status.process.start_ticks

    def reaped(self, pid: int) -> None:
        """From now on the pid may be anybody's."""
        self._leaders.pop(pid, None)

    def remove(self, task_id: str) -> None:
        for table in (self._leaders, self._sessions):
            for pid in [pid for pid, each in table.items() if each == task_id]:
                del table[pid]
        self._cgroups = {cgroup: each for cgroup, each in self._cgroups.items() if each != task_id}
        self._began.pop(task_id, None)

    def scan(self) -> dict[str | None, list[Status]]:
        """All living processes below the executor by task id; None has those that no task owns."""
        found: dict[str | None, list[Status]] = {}
        for child in processes.children(self._owner):
            if child in self._not_tasks:
                continue
            members = processes.with_descendants(child)
            if members:
                found.setdefault(self._task_of(child, members[0]), []).extend(members)
        # Rebuilt, not added to: processes that are gone are forgotten.
        self._known = {each.process: task for task, members in found.items() if task is not None for each in members}
        sessions = {each.session for members in found.values() for each in members}
        self._sessions = {pid: each for pid, each in self._sessions.items() if pid in self._leaders or pid in sessions}
        return found

    def members(self, task_id: str) -> list[Status]:
        return self.members_of({task_id}).get(task_id, [])

    def members_of(self, task_ids: Container[str]) -> dict[str | None, list[Status]]:
        """As `scan`, of some tasks: processes below the living leader of another task are not looked at.

        None has what is just ending: its own children, no less those tasks', may have come to us since we looked.
        """
        found: dict[str | None, list[Status]] = {}
        for child in processes.children(self._owner):
            leads = self._leaders.get(child)
            if child in self._not_tasks or (leads is not None and leads not in task_ids):
                continue
            members = processes.with_descendants(child)
            task = self._task_of(child, members[0]) if members else None
            if task is None:
                status = processes.read(child)
                if status is not None and not status.virtual_bytes:  # And so it could not tell whose it is.
                    found.setdefault(None, []).append(status)
            elif task in task_ids:
                found.setdefault(task, []).extend(members)
                self._known.update((each.process, task) for each in members)
        return found

    def signal(self, task_id: str, *signals: signal.Signals) -> None:
        """Sends each signal to every process of the task."""
        for member in self.members(task_id):
            for each in signals:
                _send(member.process, each)

    def kill(self, task_id: str, cgroup: OwnedCgroup | None = None) -> None:
        """SIGKILL for the task's whole tree, and for whatever else somebody has put into its cgroup."""
        inside = cgroup.members if cgroup is not None else list[int]
        self._kill(lambda: [*self.members(task_id), *filter(None, map(processes.read, inside()))])

    def kill_everything(self) -> bool:
        """SIGKILL for whatever runs below the executor; whether there was anything."""
        return self._kill(lambda: [each for members in self.scan().values() for each in members])

    def kill_strays(self) -> bool:
        """SIGKILL for whatever no task of now can own, as all have begun later; whether there was anything."""
        return self._kill(self._strays)

    def _strays(self) -> list[Status]:
        oldest_ticks = min(self._began.values(), default=math.inf)
        found = []
        for child in processes.children(self._owner):
            members = [] if child in self._leaders or child in self._not_tasks else processes.with_descendants(child)
            if members and members[0].process.start_ticks < oldest_ticks and self._task_of(child, members[0]) is None:
                found += members
        return found

    def _kill(self, look: Callable[[], list[Status]]) -> bool:
        """Stopped first: a stopped process cannot fork away from us."""
        stopped: set[Process] = set()
        for _ in range(_STOP_ROUNDS):
            new = [each.process for each in look() if each.process not in stopped]
            if not new:
                break
            for process in new:
                _send(process, signal.SIGSTOP)
            stopped.update(new)
        for process in stopped:
            _send(process, signal.SIGKILL)
        return bool(stopped)

    def _task_of(self, child: int, status: Status) -> str | None:
        return (
            self._leaders.get(child)
            or self._known.get(status.process)
            or self._task_of_cgroup(child)
            or self._sessions.get(status.session)
            or processes.variable(child, TASK_VARIABLE)
        )

    def _task_of_cgroup(self, pid: int) -> str | None:
        if not self._cgroups:
            return None
        return next((self._cgroups[each] for each in processes.cgroups(pid) if each in self._cgroups), None)


def _send(process: Process, signum: signal.Signals) -> None:
    try:
        processes.send(process, signum)
    except PermissionError:
        logger.error("process %d has become another user's; it takes no %s from us", process.pid, signum.name)
