"""What goes to the state folder is written in a native thread: a disk that hangs holds up nobody but who waits for it.

gevent has one thread for all that the estimator does, a launch's answer included, and a file system that is
frozen (fsfreeze, a snapshot of LVM's) keeps a thread in its write for as long as it likes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import gevent
from gevent.threadpool import ThreadPool

T = TypeVar("T")


class StateWriter:
    """One thing at a time, in the order in which it was asked for; to be used in one thread, under gevent."""

    def __init__(self) -> None:
        self._pool = ThreadPool(1)
        self._waiting: dict[str, tuple[Callable[[], None], Callable[[OSError | None], None]]] = {}
        self._writing: gevent.Greenlet[[], None] | None = None

    def put(self, name: str, write: Callable[[], None], wrote: Callable[[OSError | None], None]) -> None:
        """Never waits.  Of what still waits under one name the latest wins; its place is that of the first.

        `write` is called in the native thread, where nothing may be logged, as the log's locks are gevent's;
        `wrote`, with the error that it raised, out of it.
        """
        self._waiting[name] = (write, wrote)
        if self._writing is None or self._writing.ready():
            self._writing = gevent.spawn(self._write_all)

    def run(self, do: Callable[[], T]) -> T:
        """Does it in the native thread, and waits; raises the OSError that it raises."""
        result: T | OSError = self._pool.apply(_caught, (do,))
        if isinstance(result, OSError):
            raise result
        return result

    def settle(self, timeout_s: float) -> bool:
        """Waits until all that was put is written, or could not be; says whether it is."""
        if self._writing is not None:
            self._writing.join(timeout_s)
        return self._writing is None or self._writing.ready()

    def close(self) -> None:
        """Once all is settled."""
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
    """Errors are handed over as values: gevent prints the traceback of one that leaves a pool's function."""
    try:
        return do()
    except OSError as error:
        return error
