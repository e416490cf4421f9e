"""Between Mesos' scheduler API and the core: callbacks become messages, calls become requests."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from serenity.daemon.metrics import MetricsTable
from serenity.framework.calls import Accept, Acknowledge, Call, Decline, Kill, Reconcile, Revive, Suppress
from serenity.framework.loop import Loop
from serenity.framework.settings import FrameworkSettings
from serenity.wire.mesos.resources import Json
from serenity.wire.mesos.scheduler import CallRefused, Disconnected, SchedulerDriver

logger = logging.getLogger(__name__)

CAPABILITIES = (
    "REVOCABLE_RESOURCES",
    "PARTITION_AWARE",
    "TASK_KILLING_STATE",
    "MULTI_ROLE",
    "RESERVATION_REFINEMENT",
)


def framework_info(
    settings: FrameworkSettings, framework_id: str | None, hostname: str, principal: str | None = None
) -> Json:
    """`principal`: where the file with its secret names it, too."""
    info: Json = {
        "user": settings.user,
        "name": settings.name,
        "roles": [settings.role],
        "hostname": hostname,
        "checkpoint": True,
        "failover_timeout": settings.failover_timeout_s,
        "capabilities": [{"type": each} for each in CAPABILITIES],
    }
    if principal or settings.principal:
        info["principal"] = principal or settings.principal
    if framework_id:
        info["id"] = {"value": framework_id}
    return info


class Callbacks:
    """Hands everything that Mesos says to the loop.  Decides nothing, never waits."""

    def __init__(self, loop: Loop, failed: Callable[[str], None]) -> None:
        self._loop = loop
        self._failed = failed

    def registered(self, driver: SchedulerDriver, framework_id: Any, master_info: Any) -> None:
        logger.info("registered with the master at %s as %s", master_info["hostname"], framework_id["value"])
        self._loop.tell(lambda core: core.subscription_began(framework_id["value"]))

    def reregistered(self, driver: SchedulerDriver, master_info: Any) -> None:
        self.registered(driver, {"value": driver.framework_id}, master_info)

    def disconnected(self, driver: SchedulerDriver) -> None:
        self._loop.tell(lambda core: core.subscription_ended())

    def resourceOffers(self, driver: SchedulerDriver, offers: list[Any]) -> None:  # noqa: N802
        self._loop.tell(lambda core: core.offered(offers))

    def offerRescinded(self, driver: SchedulerDriver, offer_id: Any) -> None:  # noqa: N802
        self._loop.tell(lambda core: core.rescinded(offer_id["value"]))

    def inverseOffers(self, driver: SchedulerDriver, offers: list[Any]) -> None:  # noqa: N802
        logger.info("%d inverse offers: maintenance is planned; tasks go when their agent does", len(offers))

    def inverseOfferRescinded(self, driver: SchedulerDriver, offer_id: Any) -> None:  # noqa: N802
        logger.info("maintenance was called off")

    def statusUpdate(self, driver: SchedulerDriver, status: Any) -> None:  # noqa: N802
        self._loop.tell(lambda core: core.updated(status))

    def frameworkMessage(  # noqa: N802
        self, driver: SchedulerDriver, executor_id: Any, agent_id: Any, data: str
    ) -> None:
        self._loop.tell(lambda core: core.message(agent_id["value"], executor_id["value"], data))

    def executorLost(  # noqa: N802
        self, driver: SchedulerDriver, executor_id: Any, agent_id: Any, status: int | None
    ) -> None:
        logger.info("executor %s on agent %s ended with %s", executor_id["value"], agent_id["value"], status)
        self._loop.tell(lambda core: core.executor_ended(agent_id["value"], executor_id["value"]))

    def slaveLost(self, driver: SchedulerDriver, agent_id: Any) -> None:  # noqa: N802
        logger.info("agent %s was removed", agent_id["value"])
        self._loop.tell(lambda core: core.executor_ended(agent_id["value"], None))

    def processHeartBeat(self, driver: SchedulerDriver) -> None:  # noqa: N802
        pass  # The driver itself watches for silence.

    def error(self, driver: SchedulerDriver, message: str) -> None:
        self._failed(message)


class Sender:
    """Makes the calls, in order, in a thread of its own: a slow master delays calls, and nothing else."""

    def __init__(self, driver: SchedulerDriver, metrics: MetricsTable) -> None:
        self._driver = driver
        self._metrics = metrics
        self._outbox: queue.Queue[Call | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="calls to Mesos", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the calls so far were made, or after some seconds."""
        self._outbox.put(None)
        if self._thread.is_alive():
            self._thread.join(5.0)

    def send(self, calls: Sequence[Call]) -> None:
        for call in calls:
            self._outbox.put(call)

    def _run(self) -> None:
        while (call := self._outbox.get()) is not None:
            kind = type(call).__name__.lower()
            self._metrics.add("serenity_framework_calls_total", type=kind)
            try:
                make_call(self._driver, call)
            except Disconnected as error:
                # Nothing to repeat here: the core asks, kills and places anew after a
                # subscription, and Mesos sends unacknowledged updates again.
                logger.info("%s", error)
                self._metrics.add("serenity_framework_calls_failed_total", type=kind)
            except CallRefused as error:
                logger.error("%s: %r", error, call)
                self._metrics.add("serenity_framework_calls_failed_total", type=kind)


class MasterCalls(Protocol):
    """What is used of the driver, by pymesos' names.  Every call raises Disconnected or CallRefused."""

    def acceptOffers(  # noqa: N802
        self, offer_ids: list[Json], operations: list[Json], filters: Json
    ) -> None: ...
    def declineOffer(self, offer_ids: list[Json], filters: Json) -> None: ...  # noqa: N802
    def acknowledgeStatusUpdate(self, status: Json) -> None: ...  # noqa: N802
    def killTask(self, task_id: Json, agent_id: Json | None, kill_policy: Json | None) -> None: ...  # noqa: N802
    def reconcileTasks(self, tasks: list[Json]) -> None: ...  # noqa: N802
    def reviveOffers(self) -> None: ...  # noqa: N802
    def suppressOffers(self) -> None: ...  # noqa: N802


def make_call(driver: MasterCalls, call: Call) -> None:
    """Raises Disconnected or CallRefused."""
    match call:
        case Accept(offer_ids, tasks, refuse_s):
            operation = {"type": "LAUNCH", "launch": {"task_infos": list(tasks)}}
            driver.acceptOffers(_ids(offer_ids), [operation], {"refuse_seconds": refuse_s})
        case Decline(offer_ids, refuse_s):
            driver.declineOffer(_ids(offer_ids), {"refuse_seconds": refuse_s})
        case Acknowledge(status):
            driver.acknowledgeStatusUpdate(status)
        case Kill(task_id, agent_id, grace_s):
            policy = None if grace_s is None else {"grace_period": {"nanoseconds": round(grace_s * 1e9)}}
            driver.killTask({"value": task_id}, {"value": agent_id} if agent_id else None, policy)
        case Reconcile(tasks):
            driver.reconcileTasks([{"task_id": {"value": task}, "agent_id": _agent(agent)} for task, agent in tasks])
        case Revive():
            driver.reviveOffers()
        case Suppress():
            driver.suppressOffers()


def _ids(values: Sequence[str]) -> list[Json]:
    return [{"value": each} for each in values]


def _agent(agent_id: str | None) -> Json | None:
    return {"value": agent_id} if agent_id else None
