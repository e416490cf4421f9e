"""Main's inbox: events of other threads, signals and pipes, waited for in one place."""

from __future__ import annotations

import os
import selectors
import signal
import threading
from collections import deque
from dataclasses import dataclass
from types import FrameType
from typing import Any

from serenity.executor.guarding.actions import Action
from serenity.executor.tasks.limits import Breach


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The agent has accepted our subscription; comes again after each reconnection."""

    agent_id: str
    hostname: str
    container_id: str
    knows_killing: bool  # The framework understands TASK_KILLING.


@dataclass(frozen=True, slots=True)
class Launch:
    task: dict[str, Any]  # A TaskInfo.


@dataclass(frozen=True, slots=True)
class Kill:
    task_id: str
    grace_s: float | None  # None: the task's own.


@dataclass(frozen=True, slots=True)
class Shutdown:
    why: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The agent has acknowledged an update; matters only to whoever waits for the last acknowledgement."""


@dataclass(frozen=True, slots=True)
class OverDisk:
    """A task has more on the disk than it may."""

    task_id: str
    breach: Breach


@dataclass(frozen=True, slots=True)
class Decided:
    """What the guard wants done, at one tick."""

    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class FrameworkSaid:
    """A framework message, as it came."""

    data: str


Event = Subscribed | Launch | Kill | Shutdown | Acknowledged | OverDisk | Decided | FrameworkSaid


class Inbox:
    """`put` from any thread and from signal handlers; the rest is main's alone."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_reader, selectors.EVENT_READ)

    def put(self, event: Event) -> None:
        self._events.append(event)
        self._wake()

    def take_signals(self) -> None:
        """SIGTERM and SIGINT become a Shutdown, SIGCHLD ends a `wait`.  Main thread only."""
        signal.signal(signal.SIGCHLD, lambda _signum, _frame: None)
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, self._told_to_stop)
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)

    def watch(self, fd: int) -> None:
        self._selector.register(fd, selectors.EVENT_READ)

    def unwatch(self, fd: int) -> None:
        self._selector.unregister(fd)

    def wait(self, timeout_s: float | None) -> tuple[list[Event], list[int]]:
        """What came, and which watched files can be read; both empty after `timeout_s`, or after a child's end."""
        assert threading.current_thread() is threading.main_thread()
        ready = [] if self._events else self._selector.select(timeout_s)
        self._drain_wakes()
        events = []
        while self._events:
            events.append(self._events.popleft())
        return events, [int(key.fd) for key, _ in ready if key.fd != self._wake_reader]

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        self._selector.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def _told_to_stop(self, signum: int, _frame: FrameType | None) -> None:
        self.put(Shutdown(signal.Signals(signum).name))

    def _wake(self) -> None:
        try:
            os.write(self._wake_writer, b"\0")
        except BlockingIOError:
            pass  # Full: main will wake anyway.
        except OSError:
            pass  # Closed: main has ended, and nobody reads what comes now.

    def _drain_wakes(self) -> None:
        try:
            while os.read(self._wake_reader, 4096):
                pass
        except BlockingIOError:
            pass  # Empty now, which is what was wanted.
