"""Between Mesos' scheduler API and the core: callbacks become messages, calls become requests."""

from __future__ import annotations

import itertools
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from serenity.daemon.metrics import MetricsTable
from serenity.framework.crash_points import CrashPoint, passing
from serenity.framework.loop import Loop
from serenity.framework.mesos.calls import (
    Accept,
    AcceptInverseOffers,
    Acknowledge,
    Call,
    Decline,
    Kill,
    Reconcile,
    Revive,
    Shutdown,
    Suppress,
    Tell,
)
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


# Mesos repeats an inverse offer that was accepted, until the maintenance begins.
_ASKED_AGAIN_S = 600.0
# All calls are sent before the first answer is read; calls and answers must fit into the kernel's buffers.
_MOST_TOGETHER = 100


def framework_info(
    settings: FrameworkSettings, framework_id: str | None, hostname: str, principal: str | None = None
) -> Json:
    """`principal`: that of the file with its secret, where the file names one."""
    info: Json = {
        "user": settings.user,
        "name": settings.name,
        "roles": [settings.role, *([settings.estimator_role] if settings.roll_out_estimators else [])],
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
        logger.info("%d agents are asked back: maintenance is planned", len(offers))
        self._loop.tell(lambda core: core.asked_back(offers))

    def inverseOfferRescinded(self, driver: SchedulerDriver, offer_id: Any) -> None:  # noqa: N802
        self._loop.tell(lambda core: core.called_off(offer_id["value"]))

    def statusUpdate(self, driver: SchedulerDriver, status: Any) -> None:  # noqa: N802
        self._loop.tell(lambda core: core.updated(status))

    def frameworkMessage(  # noqa: N802
        self, driver: SchedulerDriver, executor_id: Any, agent_id: Any, data: str
    ) -> None:
        self._loop.tell(lambda core: core.message(agent_id["value"], executor_id["value"], data))

    def executorLost(  # noqa: N802
        self, driver: SchedulerDriver, executor_id: Any, agent_id: Any, status: int | None
    ) -> None:
        logger.log(
            logging.WARNING if status else logging.INFO,
            "executor %s on agent %s %s",
            executor_id["value"],
            agent_id["value"],
            _ending(status),
        )
        self._loop.tell(lambda core: core.executor_ended(agent_id["value"], executor_id["value"]))

    def slaveLost(self, driver: SchedulerDriver, agent_id: Any) -> None:  # noqa: N802
        logger.info("agent %s was removed", agent_id["value"])
        self._loop.tell(lambda core: core.executor_ended(agent_id["value"], None))

    def processHeartBeat(self, driver: SchedulerDriver) -> None:  # noqa: N802
        pass  # The driver itself watches for silence.

    def error(self, driver: SchedulerDriver, message: str) -> None:
        self._failed(message)


def _ending(status: int | None) -> str:
    """`status` as wait(2) has it, or -1 where the agent does not know."""
    if not status:
        return "ended"
    try:
        code = os.waitstatus_to_exitcode(status)
        how = f"exited with {code}" if code >= 0 else f"was ended by signal {-code}"
    except ValueError:
        how = f"ended with the status {status}"
    return f"{how}; its stderr in its sandbox there may say why"


class Sender:
    """Makes the calls, in order, in a thread of its own: a slow master delays calls, and nothing else."""

    def __init__(self, driver: SchedulerDriver, metrics: MetricsTable) -> None:
        self._driver = driver
        self._metrics = metrics
        self._outbox: queue.Queue[Sequence[Call] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="calls to Mesos", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns when the calls so far were made, or after some seconds."""
        self._outbox.put(None)
        if self._thread.is_alive():
            self._thread.join(5.0)

    def send(self, calls: Sequence[Call]) -> None:
        for each in together(calls):
            self._outbox.put(each)

    def _run(self) -> None:
        while (calls := self._outbox.get()) is not None:
            kind = type(calls[0]).__name__.lower()
            before, after = _CRASH_POINTS.get(type(calls[0]), (None, None))
            self._metrics.add("serenity_framework_calls_total", len(calls), type=kind)
            _pass(before)
            try:
                make_calls(self._driver, calls)
                _pass(after)
            except Disconnected as error:
                # Nothing to repeat here: the core asks, kills and places anew after a
                # subscription, and Mesos sends unacknowledged updates again.
                logger.info("%s", error)
                self._metrics.add("serenity_framework_calls_failed_total", type=kind)
            except CallRefused as error:
                logger.error("%s: %r", error, calls)
                self._metrics.add("serenity_framework_calls_failed_total", type=kind)
            except Exception:
                # What is wrong with one call must not silence all that come after it.
                logger.exception("this is a bug in Serenity; not sent: %.500r", calls)
                self._metrics.add("serenity_framework_calls_failed_total", type=kind)


# Before and after the calls by which something begins or ends.
_CRASH_POINTS: dict[type[Call], tuple[CrashPoint, CrashPoint]] = {
    Accept: (CrashPoint.ACCEPTING, CrashPoint.ACCEPTED),
    Acknowledge: (CrashPoint.ACKNOWLEDGING, CrashPoint.ACKNOWLEDGED),
    Kill: (CrashPoint.KILLING, CrashPoint.KILLED),
}


def _pass(point: CrashPoint | None) -> None:
    if point is not None:
        passing(point)


class MasterCalls(Protocol):
    """What is used of the driver, by pymesos' names.  Every call raises Disconnected or CallRefused."""

    def acceptOffers(  # noqa: N802
        self, offer_ids: list[Json], operations: list[Json], filters: Json
    ) -> None: ...
    def declineOffer(self, offer_ids: list[Json], filters: Json) -> None: ...  # noqa: N802
    def acknowledgeStatusUpdate(self, status: Json) -> None: ...  # noqa: N802
    def acknowledgeStatusUpdates(self, statuses: list[Json]) -> None: ...  # noqa: N802
    def killTask(self, task_id: Json, agent_id: Json | None, kill_policy: Json | None) -> None: ...  # noqa: N802
    def reconcileTasks(self, tasks: list[Json]) -> None: ...  # noqa: N802
    def acceptInverseOffers(self, offer_ids: list[Json], filters: Json) -> None: ...  # noqa: N802
    def shutdownExecutor(self, executor_id: Json, agent_id: Json) -> None: ...  # noqa: N802
    def sendFrameworkMessage(self, executor_id: Json, agent_id: Json, data: str) -> None: ...  # noqa: N802
    def reviveOffers(self, roles: Sequence[str]) -> None: ...  # noqa: N802
    def suppressOffers(self, roles: Sequence[str]) -> None: ...  # noqa: N802


def together(calls: Sequence[Call]) -> Iterator[Sequence[Call]]:
    """The same calls in the same order, neighbouring acknowledgements in one group: there are two for every task."""
    for kind, group in itertools.groupby(calls, type):
        same = tuple(group)
        size = _MOST_TOGETHER if kind is Acknowledge else 1
        yield from (same[start : start + size] for start in range(0, len(same), size))


def make_calls(driver: MasterCalls, calls: Sequence[Call]) -> None:
    """More calls than one are acknowledgements.  Raises Disconnected or CallRefused."""
    if len(calls) == 1:
        make_call(driver, calls[0])
    else:
        driver.acknowledgeStatusUpdates([each.status for each in calls if isinstance(each, Acknowledge)])


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
        case Shutdown(executor_id, agent_id):
            driver.shutdownExecutor({"value": executor_id}, {"value": agent_id})
        case Tell(executor_id, agent_id, data):
            driver.sendFrameworkMessage({"value": executor_id}, {"value": agent_id}, data)
        case AcceptInverseOffers(offer_ids):
            driver.acceptInverseOffers(_ids(offer_ids), {"refuse_seconds": _ASKED_AGAIN_S})
        case Revive(roles):
            driver.reviveOffers(roles)
        case Suppress(roles):
            driver.suppressOffers(roles)


def _ids(values: Sequence[str]) -> list[Json]:
    return [{"value": each} for each in values]


def _agent(agent_id: str | None) -> Json | None:
    return {"value": agent_id} if agent_id else None
