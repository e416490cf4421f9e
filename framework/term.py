"""A term: one instance's time in the lead, with the core, its loop, and the subscription to Mesos."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Sequence

from serenity.daemon.clock import Clock
from serenity.daemon.metrics import MetricsTable
from serenity.framework.core import Core, CoreConfig
from serenity.framework.estimators.watch import Watch
from serenity.framework.loop import Loop
from serenity.framework.mesos.calls import Call
from serenity.framework.mesos.scheduler import Callbacks, Sender, framework_info
from serenity.framework.others_hints import OthersHints
from serenity.framework.settings import FrameworkSettings
from serenity.framework.store.changes import Changes
from serenity.framework.store.janitor import Janitor
from serenity.framework.store.worker import StoreWorker
from serenity.wire.mesos.scheduler import SchedulerDriver
from serenity.wire.messages.hints import Hint
from serenity.wire.transport.access import Access

logger = logging.getLogger(__name__)


class Term:
    """Begins with what the store knows.  `ended` is set when it cannot go on; `stop` ends it in any case.

    Then either `failure` says why no instance could go on here, or `deposed` why this one leads no more.
    """

    def __init__(
        self,
        settings: FrameworkSettings,
        config: CoreConfig,
        access: Access,
        store: StoreWorker,
        committed: Callable[[Changes], None],
        clock: Clock,
        metrics: MetricsTable,
    ) -> None:
        """Raises StoreError."""
        snapshot = store.run(lambda store: store.load())
        self.core = Core(snapshot, config, clock)
        self.loop = Loop(self.core, store.commit, self._send, committed, clock, metrics)
        self.ended = threading.Event()
        self.failure: str | None = None
        self.deposed: str | None = None
        self._settings = settings
        self._clock = clock
        self._access = access
        self._metrics = metrics
        self._shared = store.shared
        self._janitor = Janitor(store, settings.keep_ended_s, clock, metrics)
        self._others_hints = OthersHints(settings.hint_sources, access, self._hear_hints)
        self.driver, self._sender = self._connect(snapshot.framework_id)
        self._watch = Watch(self.loop, lambda: self.driver.leading, access, clock) if self.core.rollout.on else None
        if snapshot.jobs:
            logger.info("%d jobs have not ended; going on with them", len(snapshot.jobs))

    @property
    def trouble(self) -> str | None:
        """Why the term does not get on just now."""
        return self.loop.trouble or self.driver.trouble

    def start(self) -> None:
        self.loop.start()
        threading.Thread(target=self._watch_loop, name="watch over the loop", daemon=True).start()
        self._sender.start()
        self.driver.start()
        self._janitor.start()
        self._others_hints.start()
        if self._watch is not None:
            self._watch.start()

    def stop(self) -> None:
        """Leaves Mesos its tasks: only the subscription ends."""
        self._janitor.stop()
        self._others_hints.stop()
        if self._watch is not None:
            self._watch.stop()
        self.driver.stop()
        self.loop.stop()
        self._sender.stop()

    def _connect(self, framework_id: str | None) -> tuple[SchedulerDriver, Sender]:
        driver = SchedulerDriver(
            Callbacks(self.loop, self._mesos_ended_it),
            framework_info(self._settings, framework_id, socket.gethostname(), self._access.principal),
            self._settings.master,
            access=self._access,
        )
        return driver, Sender(driver, self._metrics)

    def _watch_loop(self) -> None:
        self.loop.ended.wait()
        if self.loop.failure is not None:
            if self.loop.store_lost and self._shared:
                self.deposed = self.loop.failure
            else:
                self.failure = self.loop.failure
            self.ended.set()

    def _mesos_ended_it(self, message: str) -> None:
        """Called in the driver's thread, which is about to end."""
        if "Framework has been removed" in message:
            self._register_anew()
        elif "failed over" in message and self._shared:
            self.deposed = f"Mesos says that another instance has taken over: {message}"
            self.ended.set()
        else:
            self.failure = f"the Mesos master at {self.driver.leading} does not take this framework: {message}"
            self.ended.set()

    def _register_anew(self) -> None:
        logger.warning("Mesos has removed the framework and ended its tasks; registering as a new one")
        self.loop.tell(lambda core: core.framework_removed())  # Before anything that the new connection tells.
        self._sender.stop()
        self.driver, self._sender = self._connect(None)
        self._sender.start()
        self.driver.start()

    def _hear_hints(self, framework: str, hints: Sequence[Hint]) -> None:
        self.loop.tell(lambda core: core.heard.hints.heard_from(framework, hints, self._clock.now_s()))

    def _send(self, calls: Sequence[Call]) -> None:
        self._sender.send(calls)
