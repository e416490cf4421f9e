"""Makes happen what a sequence says, at its times, on a stack that runs."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import psutil

from serenity.wire.transport.http import Unreachable
from tests.end_to_end.running import Running
from tests.polling import eventually
from tests.survival.sequence import LINES, Event, Sequence, What
from tests.survival.tasks import Job, Traces

T = TypeVar("T")

# A user does not give up: the framework may be dead, stopped or without its Mesos.
_USERS_PATIENCE_S = 60.0
_ASK_AGAIN_S = 0.1
_RETURN_WITHIN_S = 60.0
_GUARDIAN = "executor/tasks/guardian.py"


class Hands:
    """Threads for what can take its time: a request to a framework that is stopped, the start of an agent.

    They live until `close`, which must follow the stack's end: processes are tied to the thread that has started
    them.
    """

    def __init__(self) -> None:
        self.users = ThreadPoolExecutor(8, "user")
        self.operator = ThreadPoolExecutor(1, "operator")

    def close(self) -> None:
        self.users.shutdown()
        self.operator.shutdown()


class Player:
    """On one stack.  `hurt_file`: production suffers from whoever touches it."""

    def __init__(self, running: Running, hurt_file: Path, hands: Hands) -> None:
        self._running = running
        self._hurt_file = hurt_file
        self._hands = hands

    def play(self, sequence: Sequence, traces: Traces) -> dict[str, str]:
        """Returns, when all is quiet again, the jobs' ids by their names.  All were accepted, and all kills."""
        running, began_s = self._running, time.monotonic()
        users = [self._hands.users.submit(self._use, job, traces, began_s) for job in sequence.jobs]
        timeline = _Timeline(began_s)
        for event in sequence.events:
            timeline.add(event.at_s, partial(self._begin, event, timeline))
        timeline.run()
        for each in LINES:
            running.lines.line(each).spare()
        eventually(running.subscribed, "the framework's return", _RETURN_WITHIN_S)
        return {job.name: user.result() for job, user in zip(sequence.jobs, users, strict=True)}

    # -- users ---------------------------------------------------------------------------------------

    def _use(self, job: Job, traces: Traces, began_s: float) -> str:
        _sleep_until(began_s + job.submitted_s)
        job_id = _insist(lambda: self._submitted(job, traces))
        if job.killed_s is not None:
            _sleep_until(began_s + job.killed_s)
            _insist(lambda: self._running.kill(job_id))
        return job_id

    def _submitted(self, job: Job, traces: Traces) -> str:
        """Once: the answer to the last try may have been lost."""
        known = self._running.find(job.name)
        if known is not None:
            return known
        # Whoever charges a job for what it did not do has it fail.
        more = {"instances": job.instances, "max_retries": 0, "grace_s": 0.5, "cpus": 0.05}
        return self._running.run(*job.command(traces.folder), name=job.name, **more)

    # -- events ----------------------------------------------------------------------------------------

    def _begin(self, event: Event, timeline: _Timeline) -> None:
        running, end_s = self._running, event.at_s + event.for_s
        match event.what:
            case What.KILL_EXECUTOR:
                for each in running.executors():
                    _send(each, signal.SIGKILL)
            case What.KILL_GUARDIAN:
                for each in guardians(running):
                    _send(each, signal.SIGKILL)
            case What.KILL_DAEMON:
                daemon = running.daemon(event.of)
                if daemon.ended() is None:  # Else it is dead already, and whoever has killed it starts it again.
                    running.signal(event.of, signal.SIGKILL)
                    timeline.add(end_s, daemon.start)
            case What.STOP:
                self._stop(event.of, timeline, end_s)
            case What.KILL_AGENT:
                timeline.await_(self._hands.operator.submit(self._restart_agent, event.for_s))
            case What.CUT:
                running.lines.line(event.of).cut()
            case What.CUT_AT:
                running.lines.line(event.of).cut_at(event.call, arrives=event.arrives)
            case What.REFUSE:
                timeline.during(("refuse", event.of), running.lines.line(event.of).down(), end_s)
            case What.DELAY:
                timeline.during(("delay", event.of), running.lines.line(event.of).held_back(), end_s)
            case What.DROP_STREAMS if running.mesos.real:
                running.lines.line(event.of).cut()
            case What.DROP_STREAMS:
                timeline.await_(self._hands.operator.submit(running.mesos.drop_streams, event.of))
            case What.HURT:
                timeline.add(event.at_s, lambda: self._hurt(timeline, event.at_s, end_s))

    def _stop(self, of: str, timeline: _Timeline, end_s: float) -> None:
        running = self._running
        if of == "executor":
            stopped = running.executors()
        else:
            alive = running.daemon(of).ended() is None
            stopped = [psutil.Process(running.daemon_pid(of))] if alive else []
        for each in stopped:
            _send(each, signal.SIGSTOP)
            timeline.add(end_s, partial(_send, each, signal.SIGCONT))

    def _restart_agent(self, after_s: float) -> None:
        self._running.mesos.kill_agent()
        time.sleep(after_s)
        self._running.mesos.start_agent()

    def _hurt(self, timeline: _Timeline, now_s: float, end_s: float) -> None:
        self._hurt_file.touch()
        if now_s < end_s:
            timeline.add(now_s + 0.2, lambda: self._hurt(timeline, now_s + 0.2, end_s))


class _Timeline:
    """What is still to be done, in the main thread, in seconds since the sequence began."""

    def __init__(self, began_s: float) -> None:
        self._began_s = began_s
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self._states: set[tuple[str, str]] = set()
        self._awaited: list[Future[None]] = []

    def add(self, at_s: float, do: Callable[[], object]) -> None:
        heapq.heappush(self._due, (at_s, next(self._order), do))

    def await_(self, work: Future[None]) -> None:
        """There is no quiet before its end."""
        self._awaited.append(work)

    def during(self, state: tuple[str, str], entered: contextlib.AbstractContextManager[object], end_s: float) -> None:
        """Until `end_s`; not at all where the state lasts already."""
        if state in self._states:
            return
        self._states.add(state)
        entered.__enter__()

        def leave() -> None:
            entered.__exit__(None, None, None)
            self._states.discard(state)

        self.add(end_s, leave)

    def run(self) -> None:
        while self._due:
            at_s, _, do = heapq.heappop(self._due)
            _sleep_until(self._began_s + at_s)
            do()
        for each in self._awaited:
            each.result()


def guardians(running: Running) -> list[psutil.Process]:
    found = []
    for executor in running.executors():
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [each for each in executor.children() if any(_GUARDIAN in word for word in _words(each))]
    return found


def _words(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def _send(process: psutil.Process, signum: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):  # It has ended, or was killed by another event.
        process.send_signal(signum)


def _insist(ask: Callable[[], T]) -> T:
    deadline_s = time.monotonic() + _USERS_PATIENCE_S
    while True:
        try:
            return ask()
        except Unreachable:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(_ASK_AGAIN_S)


def _sleep_until(at_s: float) -> None:
    time.sleep(max(0.0, at_s - time.monotonic()))
