"""Threads of a simulation: greenlets of which one runs at a time, and which one is next somebody else decides.

Product code runs on them unchanged, with `Threads.threading` and `Threads.queue` in the
place of the standard modules.  A thread gives way only where a real one would block, so
what happens between two such places is one step, and a run is repeated exactly by the same
choices.  The clock stands still while threads run.
"""

from __future__ import annotations

import heapq
import itertools
import queue
from collections import deque
from collections.abc import Callable
from concurrent import futures
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

from tests.manual_clock import ManualClock


@dataclass(eq=False)
class Process:
    """What dies together.  Its memory goes; what it has sent, and its disk, stay."""

    name: str
    dead: bool = False
    threads: list[SimThread] = field(default_factory=list)

    def __str__(self) -> str:
        return self.name


class Threads:
    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.hub = getcurrent()
        self._runnable: list[tuple[SimThread, bool]] = []
        self._timers: list[tuple[float, int, SimThread]] = []
        self._numbers = itertools.count()
        self.current: SimThread | None = None
        self.threading = SimpleNamespace(
            Thread=lambda target, name="", daemon=False, args=(): SimThread(self, target, name, args),
            Lock=lambda: SimLock(self),
            Event=lambda: SimEvent(self),
            current_thread=lambda: self.current,
        )
        self.queue = SimpleNamespace(
            Queue=lambda: SimQueue(self), SimpleQueue=lambda: SimQueue(self), Empty=queue.Empty
        )

    # -- the outside: who runs, and when -------------------------------------------------------

    def run(self, process: Process, target: Callable[[], None], name: str) -> SimThread:
        """Starts a process' thread from outside of all threads."""
        thread = SimThread(self, target, name, process=process)
        thread.start()
        return thread

    @property
    def runnable(self) -> int:
        return len(self._runnable)

    def step(self, index: int) -> None:
        """Lets one of the runnable threads go on until it blocks."""
        thread, woken = self._runnable.pop(index)
        self._enter(thread, partial(thread.greenlet.switch, woken))

    def ring(self) -> None:
        """Wakes whoever has waited long enough."""
        now_s = self._clock.monotonic_s()
        while self._timers and self._timers[0][0] <= now_s:
            at_s, _, thread = heapq.heappop(self._timers)
            if thread.waits_until_s == at_s:
                self.wake(thread, woken=False)

    @property
    def next_s(self) -> float | None:
        """When the first one has waited long enough; it may be nobody then."""
        return self._timers[0][0] if self._timers else None

    def kill(self, process: Process) -> None:
        """As SIGKILL would: none of its threads does anything any more."""
        process.dead = True
        self._runnable = [each for each in self._runnable if each[0].process is not process]
        for thread in process.threads:
            thread.waits_until_s, thread.parked = None, False
            self._enter(thread, partial(thread.greenlet.throw, GreenletExit()))

    def _enter(self, thread: SimThread, switch: Callable[[], object]) -> None:
        self.current = thread
        try:
            switch()
        finally:
            self.current = None

    # -- the inside: what simulated primitives are made of -------------------------------------

    def park(self, timeout_s: float | None = None) -> bool:
        """Blocks the current thread until `wake`; False when the time was over first."""
        thread = self.current
        assert thread is not None, "nobody outside of the threads may block"
        if thread.process.dead:
            raise GreenletExit
        if timeout_s is not None:
            thread.waits_until_s = self._clock.monotonic_s() + timeout_s
            heapq.heappush(self._timers, (thread.waits_until_s, next(self._numbers), thread))
        thread.parked = True
        return bool(self.hub.switch())

    def park_in(self, waiting: list[SimThread], timeout_s: float | None = None) -> bool:
        """Blocks like `park`, and is found in `waiting` meanwhile."""
        thread = self.current
        assert thread is not None
        waiting.append(thread)
        try:
            return self.park(timeout_s)
        finally:
            waiting.remove(thread)

    def give_way(self) -> None:
        """Lets others go on, for as long as the outside likes."""
        thread = self.current
        assert thread is not None
        if thread.process.dead:
            raise GreenletExit
        self._runnable.append((thread, True))
        self.hub.switch()

    def begin(self, thread: SimThread) -> None:
        self._runnable.append((thread, True))

    def wake(self, thread: SimThread, woken: bool = True) -> None:
        if thread.parked and not thread.process.dead:
            thread.parked, thread.waits_until_s = False, None
            self._runnable.append((thread, woken))


class SimThread:
    def __init__(
        self,
        threads: Threads,
        target: Callable[..., None],
        name: str,
        args: tuple[Any, ...] = (),
        process: Process | None = None,
    ) -> None:
        if process is None:  # As with a real one: that of the thread that makes it.
            assert threads.current is not None
            process = threads.current.process
        self.process: Process = process
        self.name = name
        self.ident: int | None = None
        self.parked = False
        self.waits_until_s: float | None = None
        self.greenlet = greenlet(self._run, threads.hub)
        self._threads = threads
        self._target = target
        self._args = args
        self._ended = SimEvent(threads)

    def start(self) -> None:
        self.ident = id(self)
        self.process.threads.append(self)
        self._threads.begin(self)

    def is_alive(self) -> bool:
        return self.ident is not None and not self._ended.is_set()

    def join(self, timeout: float | None = None) -> None:
        self._ended.wait(timeout)

    def _run(self, _woken: bool) -> None:
        try:
            self._target(*self._args)
        finally:
            self._ended.set()


class SimEvent:
    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._set = False
        self._waiting: list[SimThread] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        for thread in self._waiting:
            self._threads.wake(thread)

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            self._threads.park_in(self._waiting, timeout)
        return self._set


class SimLock:
    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._held = False
        self._waiting: list[SimThread] = []

    def acquire(self) -> bool:
        while self._held:
            self._threads.park_in(self._waiting)
        self._held = True
        return True

    def release(self) -> None:
        self._held = False
        for thread in self._waiting:
            self._threads.wake(thread)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()


class SimQueue:
    """Of one reader."""

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._items: deque[Any] = deque()
        self._readers: list[SimThread] = []

    def put(self, item: Any) -> None:
        self._items.append(item)
        for thread in self._readers:
            self._threads.wake(thread)

    def get(self, timeout: float | None = None) -> Any:
        if not self._items:
            self._threads.park_in(self._readers, timeout)
        return self.get_nowait()

    def get_nowait(self) -> Any:
        if not self._items:
            raise queue.Empty
        return self._items.popleft()


class SimFuture:
    """Of one asker."""

    def __init__(self, threads: Threads) -> None:
        self._done = SimEvent(threads)
        self._result: Any = None
        self._error: BaseException | None = None

    def set_result(self, result: Any) -> None:
        self._result = result
        self._done.set()

    def set_exception(self, error: BaseException) -> None:
        self._error = error
        self._done.set()

    def result(self, timeout: float | None = None) -> Any:
        if not self._done.wait(timeout):
            raise futures.TimeoutError
        if self._error is not None:
            raise self._error
        return self._result
