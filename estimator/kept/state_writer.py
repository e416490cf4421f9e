"""Writes to the state folder in a native thread, so that a disk that hangs holds up only callers that wait for it.

Under gevent a single thread does all of the estimator's work, answers to launches included, and a file system that is
frozen (fsfreeze, an LVM snapshot) blocks a thread in its write for as long as it stays frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import gevent
from gevent.threadpool import ThreadPool

T = TypeVar("T")


class StateWriter:
    """Does one write at a time, in the order of the requests.  To be used from one thread, under gevent."""

    def __init__(self) -> None:
        self._pool = ThreadPool(1)
        self._waiting: dict[str, tuple[Callable[[], None], Callable[[OSError | None], None]]] = {}
        self._writing: gevent.Greenlet[[], None] | None = None

    def put(self, name: str, write: Callable[[], None], wrote: Callable[[OSError | None], None]) -> None:
        """Queues a write, and never waits.  It replaces a write of the same name that still waits, and takes its place.

        `write` is called in the native thread, where nothing may be logged, because the log's locks are gevent's.
        `wrote` is called outside that thread, with the OSError that `write` raised, or None.
        """
        self._waiting[name] = (write, wrote)
        if self._writing is None or self._writing.ready():
            self._writing = gevent.spawn(self._write_all)

    def run(self, do: Callable[[], T]) -> T:
        """Runs `do` in the native thread and waits for its result; passes on its OSError."""
        result: T | OSError = self._pool.apply(_caught, (do,))
        if isinstance(result, OSError):
            raise result
        return result

    def settle(self, timeout_s: float) -> bool:
        """Waits until every queued write has succeeded or failed; returns whether that is so."""
        if self._writing is not None:
            self._writing.join(timeout_s)
        return self._writing is None or self._writing.ready()

    def close(self) -> None:
        """To be called once `settle` has returned True."""
        self._pool.kill()

    def _write_all(self) -> None:
        while self._waiting:
            name = next(iter(self._waiting))
            write, wrote = self._waiting.pop(name)
            try:
                self.run(write)
            except OSError as error:
                wrote(error)
            else:
                wrote(None)


def _caught(do: Callable[[], T]) -> T | OSError:
    """Returns an error as a value: gevent prints a traceback of any exception that leaves a pool's function."""
    try:
        return do()
    except OSError as error:
        return error
