"""The store behind one native thread: under gevent, a slow disk or a locked file stalls only those who wait for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gevent.threadpool import ThreadPool

from serenity.framework.store.changes import Changes
from serenity.framework.store.errors import StoreError
from serenity.framework.store.store import Store

T = TypeVar("T")


class StoreWorker:
    """All methods block the calling greenlet alone, and raise what the store raises."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = ThreadPool(1)
        self.run(lambda store: store.open())

    @property
    def shared(self) -> bool:
        return self._store.shared

    def run(self, do: Callable[[Store], T]) -> T:
        result: T | StoreError = self._pool.apply(self._caught, (do,))
        if isinstance(result, StoreError):
            raise result
        return result

    def commit(self, changes: Changes) -> None:
        self.run(lambda store: store.commit(changes))

    def close(self) -> None:
        self.run(lambda store: store.close())
        self._pool.kill()

    def _caught(self, do: Callable[[Store], T]) -> T | StoreError:
        """Errors are handed over as values: gevent prints the traceback of one that leaves a pool's function."""
        try:
            return do(self._store)
        except StoreError as error:
            return error
