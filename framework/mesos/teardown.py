"""The end of a framework in Mesos, for good: the one place from which TEARDOWN is ever sent."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

from serenity.daemon.clock import Clock
from serenity.framework.core import Core, CoreConfig
from serenity.framework.mesos.scheduler import framework_info
from serenity.framework.settings import FrameworkSettings
from serenity.framework.store.errors import StoreError
from serenity.framework.store.store import Store
from serenity.wire.mesos.scheduler import CallRefused, Disconnected, SchedulerDriver
from serenity.wire.transport.access import access_of

_ANSWER_S = 30.0


class NotTornDown(Exception):  # noqa: N818 - reads as what it says
    """The framework lives on; one line for the operator."""


def tear_down(settings: FrameworkSettings, clock: Clock, agreed: Callable[[str], bool]) -> str:
    """Has Mesos end the framework with all its tasks, and notes that in the store; returns what was done.

    No instance of it may run.  `agreed` is asked first, with what would happen.

    Raises:
        NotTornDown, StoreError, UnusableFile
    """
    store = Store(settings.database)
    store.open()
    try:
        if not store.lead():
            raise StoreError(f"an instance of the framework leads on {store.name}; stop all of them first")
        snapshot = store.load()
        if snapshot.framework_id is None:
            return f"{store.name} holds no framework that Mesos knows; nothing was done"
        core = Core(snapshot, CoreConfig("", {}, 0.0, 0.0, reconcile_every_s=0.0), clock)
        tasks = sum(core.tasks_on().values()) + len(snapshot.estimators)
        if not agreed(
            f"This ends framework {snapshot.framework_id} on the Mesos at {settings.master} for good, and kills its "
            f"tasks ({tasks}). Jobs that have not ended ({len(snapshot.jobs)}) stay in {store.name}, and begin anew "
            "when a framework is started there."
        ):
            raise NotTornDown("nothing was done")
        _Goodbye(settings, snapshot.framework_id).say()
        core.framework_removed()
        store.commit(core.end_round().changes)
        return f"Mesos has ended framework {snapshot.framework_id}, and its tasks with it ({tasks})"
    finally:
        store.close()


class _Goodbye:
    """Subscribes, as a call needs that, and sends TEARDOWN."""

    def __init__(self, settings: FrameworkSettings, framework_id: str) -> None:
        access = access_of(settings)
        info = framework_info(settings, framework_id, socket.gethostname(), access.principal)
        self._driver = SchedulerDriver(self, info, settings.master, access=access)
        self._known = threading.Event()
        self._refused: str | None = None

    def say(self) -> None:
        """Raises NotTornDown."""
        self._driver.start()
        try:
            if not self._known.wait(_ANSWER_S):
                raise NotTornDown(f"no subscription within {_ANSWER_S:g} s: {self._driver.trouble}")
            if self._refused is not None:
                raise NotTornDown(f"the master at {self._driver.leading} does not take this framework: {self._refused}")
            self._driver.teardown()
        except (Disconnected, CallRefused) as error:
            raise NotTornDown(f"{error}; look at the master, and try again") from error
        finally:
            self._driver.stop()

    def registered(self, driver: SchedulerDriver, framework_id: Any, master_info: Any) -> None:
        self._known.set()

    def reregistered(self, driver: SchedulerDriver, master_info: Any) -> None:
        self._known.set()

    def error(self, driver: SchedulerDriver, message: str) -> None:
        self._refused = message
        self._known.set()

    # Nothing of this matters any more; Mesos sends updates that are not acknowledged until it ends the framework.
    def disconnected(self, driver: SchedulerDriver) -> None: ...
    def resourceOffers(self, driver: SchedulerDriver, offers: list[Any]) -> None: ...  # noqa: N802
    def inverseOffers(self, driver: SchedulerDriver, offers: list[Any]) -> None: ...  # noqa: N802
    def offerRescinded(self, driver: SchedulerDriver, offer_id: Any) -> None: ...  # noqa: N802
    def inverseOfferRescinded(self, driver: SchedulerDriver, offer_id: Any) -> None: ...  # noqa: N802
    def statusUpdate(self, driver: SchedulerDriver, status: Any) -> None: ...  # noqa: N802
    def frameworkMessage(  # noqa: N802
        self, driver: SchedulerDriver, executor_id: Any, agent_id: Any, data: str
    ) -> None: ...
    def executorLost(  # noqa: N802
        self, driver: SchedulerDriver, executor_id: Any, agent_id: Any, status: int | None
    ) -> None: ...
    def slaveLost(self, driver: SchedulerDriver, agent_id: Any) -> None: ...  # noqa: N802
    def processHeartBeat(self, driver: SchedulerDriver) -> None: ...  # noqa: N802
