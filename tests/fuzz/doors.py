"""Every door through which product code reaches the machine, and what stands behind it in a simulation."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import uuid
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from serenity.executor import agent_link, runner
from serenity.framework import loop, service, term
from serenity.framework.mesos import scheduler as framework_scheduler
from serenity.framework.store import janitor
from serenity.wire.mesos import executor as executor_driver
from serenity.wire.mesos import scheduler as scheduler_driver
from serenity.wire.mesos import subscription
from tests.fuzz.disk import SimStoreWorker
from tests.fuzz.threads import SimFuture

if TYPE_CHECKING:
    from tests.fuzz.world import World


def _doors(world: World) -> list[tuple[ModuleType, str, Any]]:
    threads, network, clock = world.threads, world.network, world.clock
    threading, queue = threads.threading, threads.queue
    time = SimpleNamespace(time=clock.now_s, monotonic=clock.monotonic_s, sleep=threads.park)
    driver = functools.partial(executor_driver.ExecutorDriver, monotonic=clock.monotonic_s)
    numbers = itertools.count(1)
    return [
        (subscription, "threading", threading),
        (scheduler_driver, "threading", threading),
        (scheduler_driver, "Client", network.client),
        (scheduler_driver, "open_stream", network.open_stream),
        (executor_driver, "threading", threading),
        (executor_driver, "Client", network.client),
        (executor_driver, "open_stream", network.open_stream),
        (executor_driver, "time", time),
        (agent_link, "threading", threading),
        (agent_link, "queue", queue),
        (agent_link, "ExecutorDriver", driver),
        (runner, "launch", lambda *arguments: world.kernel.launch(*arguments)),
        (runner, "read_report", lambda *arguments: world.kernel.read_report(*arguments)),
        (runner, "os", _Lazy(lambda: world.kernel.os)),
        (loop, "threading", threading),
        (loop, "queue", queue),
        (loop, "Future", functools.partial(SimFuture, threads)),
        (framework_scheduler, "threading", threading),
        (framework_scheduler, "queue", queue),
        (service, "threading", threading),
        (term, "threading", threading),
        (janitor, "threading", threading),
        (service, "StoreWorker", lambda _store: SimStoreWorker(world.disk, threads)),
        (uuid, "uuid4", lambda: uuid.UUID(int=next(numbers), version=4)),
    ]


class _Lazy:
    """The attributes of what `find` finds at that moment."""

    def __init__(self, find: Any) -> None:
        self._find = find

    def __getattr__(self, name: str) -> Any:
        return getattr(self._find(), name)


class _Tracebacks(logging.Handler):
    """Serenity catches what it did not foresee, and logs it: here that is a failure."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.found.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


@contextlib.contextmanager
def closed(world: World) -> Iterator[list[str]]:
    """While it lasts nothing gets out of the simulation.  Yields the tracebacks that were logged."""
    doors = [(module, name, getattr(module, name), put) for module, name, put in _doors(world)]
    logger, handler = logging.getLogger("serenity"), _Tracebacks()
    level, logger.propagate = logger.level, False
    logger.setLevel(logging.ERROR)
    logger.addHandler(handler)
    try:
        for module, name, _, put in doors:
            setattr(module, name, put)
        yield handler.found
    finally:
        for module, name, before, _ in doors:
            setattr(module, name, before)
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = True
