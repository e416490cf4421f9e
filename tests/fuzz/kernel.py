"""The processes of one simulated executor: what `executor.runner` asks of the operating system, and what it is told.

Nothing runs, but the truth about what ran is here: `Run` is one process of one task.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

from serenity.executor.inbox import Event
from serenity.executor.tasks.launch import Launched
from serenity.executor.tasks.task import Failure
from serenity.wire.messages.reasons import Reason
from serenity.wire.messages.task_spec import TaskSpec
from tests.fuzz.network import Network
from tests.fuzz.threads import SimThread, Threads

# What a task's command is, and so how it behaves.
WORKS, STUBBORN, BROKEN = "work", "ignore-sigterm", "no-such-command"

_fds = itertools.count(1000)


@dataclass(eq=False)
class Run:
    """One process of a task.  `status` is that of waitpid(2), once it has ended."""

    task_id: str
    command: str
    pid: int
    status: int | None = None
    reaped: bool = False
    signalled: bool = False  # Whether its end was not its own doing.
    resident_bytes: int = 0
    threads: int = 1

    @property
    def key(self) -> str:
        """Job and instance."""
        return self.task_id.rpartition(".")[0]

    @property
    def alive(self) -> bool:
        return self.status is None


class SimInbox:
    """As `executor.inbox.Inbox`."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._events: list[Event] = []
        self._watched: set[int] = set()
        self._ready: list[int] = []
        self._waiting: list[SimThread] = []
        self._poked = False

    def put(self, event: Event) -> None:
        self._events.append(event)
        self.poke()

    def poke(self) -> None:
        """As SIGCHLD: ends a `wait`."""
        self._poked = True
        for thread in self._waiting:
            self._threads.wake(thread)

    def readable(self, fd: int) -> None:
        if fd in self._watched:
            self._ready.append(fd)
            self.poke()

    def watch(self, fd: int) -> None:
        self._watched.add(fd)

    def unwatch(self, fd: int) -> None:
        self._watched.remove(fd)
        self._ready = [each for each in self._ready if each != fd]

    def wait(self, timeout_s: float | None) -> tuple[list[Event], list[int]]:
        if not self._poked and not self._events and not self._ready:
            self._threads.park_in(self._waiting, timeout_s)
        self._poked = False
        events, self._events = self._events, []
        return events, list(self._ready)


class Kernel:
    """Of one container.  `os`, `launch` and `read_report` take the places of their namesakes in `executor.runner`."""

    def __init__(self, network: Network, inbox: SimInbox, began: Callable[[Run], None], pids: Iterator[int]) -> None:
        self.runs: list[Run] = []
        self._network = network
        self._inbox = inbox
        self._began = began
        self._pids = pids
        self._reports: dict[int, str | None] = {}
        self._reports_of: dict[int, Run] = {}
        self.os = SimpleNamespace(
            **{name: getattr(os, name) for name in ("P_ALL", "WEXITED", "WNOHANG", "WNOWAIT")},
            **{name: getattr(os, name) for name in ("WIFSIGNALED", "WTERMSIG", "WEXITSTATUS")},
            waitid=self._waitid,
            wait4=self._wait4,
            close=lambda fd: self._reports_of.pop(fd, None),
        )
        self.trees = SimTrees(self)

    # -- system calls ----------------------------------------------------------------------

    def launch(self, task_id: str, spec: TaskSpec, _around: object, _cgroups: object) -> Launched:
        run = Run(task_id, spec.argv[0], next(self._pids))
        self.runs.append(run)
        self._began(run)
        report = next(_fds)
        self._reports_of[report] = run
        self._network.channel().send(lambda: self._report(report))
        return Launched(run.pid, report)

    def read_report(self, report: int, argv: object) -> Failure | None:
        run = self._reports_of.pop(report)
        return Failure(Reason.LAUNCH_FAILED, "command not found") if run.command == BROKEN else None

    def _report(self, report: int) -> None:
        """The command runs, or could not be started."""
        if report in self._reports_of:
            run = self._reports_of[report]
            if run.command == BROKEN and run.alive:
                self._end(run, 1 << 8)
            self._inbox.readable(report)

    def _waitid(self, *_arguments: int) -> SimpleNamespace | None:
        for run in self.runs:
            if not run.alive and not run.reaped:
                return SimpleNamespace(si_pid=run.pid)
        if any(run.alive for run in self.runs):
            return None
        raise ChildProcessError

    def _wait4(self, pid: int, _options: int) -> tuple[int, int, SimpleNamespace]:
        (run,) = [each for each in self.runs if each.pid == pid]
        assert run.status is not None
        run.reaped = True
        return pid, run.status, SimpleNamespace(ru_utime=0.0, ru_stime=0.0, ru_maxrss=0)

    # -- what happens to processes ---------------------------------------------------------

    @property
    def alive(self) -> list[Run]:
        return [each for each in self.runs if each.alive]

    def exit(self, run: Run, code: int) -> None:
        """The command ends by itself; by a signal that is none of ours if `code` is negative."""
        self._end(run, code << 8 if code >= 0 else -code)

    def send(self, run: Run, signum: signal.Signals) -> None:
        if signum is signal.SIGKILL or (signum is signal.SIGTERM and run.command != STUBBORN):
            run.signalled = True
            # It takes its time to die, as processes do.
            self._network.channel().send(lambda: self._end(run, int(signum)) if run.alive else None)

    def kill_all(self) -> None:
        for run in self.alive:
            run.status, run.signalled = int(signal.SIGKILL), True

    def _end(self, run: Run, status: int) -> None:
        run.status = status
        self._inbox.poke()


class SimTrees:
    """As `executor.trees.Trees`; a task is one process."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def add(self, task_id: str, leader: int, cgroup: object = None) -> None:
        pass

    def reaped(self, pid: int) -> None:
        pass

    def remove(self, task_id: str) -> None:
        pass

    def scan(self) -> dict[str | None, list[Run]]:
        found: dict[str | None, list[Run]] = {}
        for run in self._kernel.alive:
            found.setdefault(run.task_id, []).append(run)
        return found

    def members_of(self, task_ids: Container[str]) -> dict[str, list[Run]]:
        return {task_id: runs for task_id, runs in self.scan().items() if task_id is not None and task_id in task_ids}

    def signal(self, task_id: str, *signals: signal.Signals) -> None:
        for run in self.scan().get(task_id, []):
            for each in signals:
                self._kernel.send(run, each)

    def kill(self, task_id: str, cgroup: object = None) -> None:
        self.signal(task_id, signal.SIGKILL)

    def kill_strays(self) -> bool:
        return False

    def kill_everything(self) -> bool:
        alive = self._kernel.alive
        self._kernel.kill_all()
        return bool(alive)
