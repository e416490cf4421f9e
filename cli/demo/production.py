"""A production framework, as any other: its tasks run on regular resources, and know nothing of Serenity.

All that it does for Serenity is to say, in its service's labels, where the service's indicator is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serenity.wire.mesos.resources import Resources
from serenity.wire.mesos.scheduler import Disconnected, SchedulerDriver

_MEMCACHED_THREADS = 4
_TERMINAL = {"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST", "TASK_DROPPED", "TASK_GONE"}


class ProductionError(Exception):
    """A production task does not run; the text says which and why."""


@dataclass(frozen=True)
class Service:
    """One task of one command."""

    name: str
    argv: tuple[str, ...]
    cpus: float
    mem_mb: float
    labels: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None  # Allocated to the task; Serenity asks for a task's indicator on no other port.

    def task_info(self, agent_id: str, resources: Resources) -> dict[str, Any]:
        return {
            "name": self.name,
            "task_id": {"value": self.name},
            "agent_id": {"value": agent_id},
            "resources": resources.to_json(),
            "command": {"shell": False, "value": self.argv[0], "arguments": list(self.argv)},
            "labels": {"labels": [{"key": k, "value": v} for k, v in self.labels.items()]},
        }


def key_value_service(port: int, cpus: int) -> tuple[Service, str]:
    """The service to protect, on a machine of `cpus`: memcached where it is installed; and its name in words."""
    address = f"127.0.0.1:{port}"
    memcached = shutil.which("memcached")
    if memcached is not None:
        argv = [memcached, "-l", "127.0.0.1", "-p", str(port), "-U", "0", "-t", str(_MEMCACHED_THREADS), "-m", "64"]
        if os.geteuid() == 0:
            argv += ["-u", "nobody"]
        words = "memcached"
    else:
        argv = [sys.executable, "-P", "-m", "serenity.cli.demo.kv_service", "--port", str(port)]
        words = "the built-in key-value service (no memcached on PATH)"
    return Service("memcached" if memcached else "kv", tuple(argv), cpus * 0.25, 512, sli_labels(address), port), words


def standby(cpus: int, mem_mb: float) -> Service:
    """An idle service: its allocation, most of the machine, is the slack."""
    return Service("standby", ("sleep", "86400"), cpus * 0.65, mem_mb * 0.6)


def sli_labels(address: str) -> dict[str, str]:
    """The labels that tell Serenity where to read a memcached's throughput."""
    return {
        "serenity.sli.kind": "memcached",
        "serenity.sli.address": address,
        "serenity.sli.metric": "cmd_get",
        "serenity.sli.as": "rate",
        "serenity.sli.better": "higher",
        "serenity.sli.unit": "ops/s",
    }


def _port(offered: Resources, port: int | None) -> Resources | None:
    """`port` as a resource of the offer; no resources if no port is wanted, None if the port is not offered."""
    if port is None:
        return Resources()
    only = {"ranges": {"range": [{"begin": port, "end": port}]}}
    found = (Resources.from_json([{**each, **only}]) for each in offered.named("ports").to_json())
    return next((each for each in found if each in offered), None)


class Production:
    """Runs `services` until `stop`, which tears its framework down."""

    def __init__(self, master: str, user: str, services: Sequence[Service]) -> None:
        self._services = {service.name: service for service in services}
        self._waiting = dict(self._services)
        self._lock = threading.Lock()
        self._states: dict[str, str] = {}
        self._trouble: str | None = None
        self._changed = threading.Condition(self._lock)
        framework = {
            "name": "web",
            "user": user,
            "roles": ["*"],
            "checkpoint": True,  # Its tasks outlive a restart of their agent.
            "capabilities": [{"type": "MULTI_ROLE"}, {"type": "RESERVATION_REFINEMENT"}],
        }
        self._driver = SchedulerDriver(self, framework, master)

    def start(self, timeout_s: float = 30.0) -> None:
        """Returns when every task runs.  Raises ProductionError."""
        names = set(self._waiting)
        self._driver.start()
        with self._changed:
            self._changed.wait_for(lambda: self._trouble or names <= self._running(), timeout_s)
            if self._trouble:
                raise ProductionError(self._trouble)
            if not names <= self._running():
                missing = ", ".join(sorted(names - self._running()))
                raise ProductionError(f"production tasks did not start within {timeout_s:.0f} s: {missing}")

    def stop(self) -> None:
        with contextlib.suppress(Disconnected):  # The master is gone already, and its tasks with it.
            self._driver.teardown()
        self._driver.stop()

    def trouble(self) -> str | None:
        """What went wrong since the start, if anything."""
        with self._lock:
            return self._trouble

    def _running(self) -> set[str]:
        return {name for name, state in self._states.items() if state == "TASK_RUNNING"}

    # -- the scheduler's callbacks --------------------------------------------------------------

    def resourceOffers(self, driver: Any, offers: list[Any]) -> None:  # noqa: N802
        for offer in offers:
            left = Resources.from_json(offer["resources"]).regular
            tasks = []
            for name, service in list(self._waiting.items()):
                cpus, mem = left.take("cpus", service.cpus), left.take("mem", service.mem_mb)
                port = _port(left, service.port)
                if cpus is None or mem is None or port is None:
                    continue
                left = left - cpus - mem - port
                tasks.append(service.task_info(offer["agent_id"]["value"], cpus + mem + port))
                del self._waiting[name]
            driver.launchTasks(offer["id"], tasks, filters={"refuse_seconds": 1.0 if self._waiting else 600.0})

    def statusUpdate(self, driver: Any, status: Any) -> None:  # noqa: N802
        name, state = status["task_id"]["value"], status["state"]
        with self._changed:
            self._states[name] = state
            if status.get("reason") == "REASON_INVALID_OFFERS":  # Its offer was rescinded: the next will do.
                self._waiting[name] = self._services[name]
            elif state in _TERMINAL:
                self._trouble = f"production task {name} ended: {state} {status.get('message', '')}".strip()
            self._changed.notify_all()
        driver.acknowledgeStatusUpdate(status)

    def error(self, driver: SchedulerDriver, message: str) -> None:
        with self._changed:
            self._trouble = f"the production framework was ended by Mesos: {message}"
            self._changed.notify_all()

    def registered(self, driver: SchedulerDriver, framework_id: Any, master_info: Any) -> None:
        """Nothing to do: offers follow."""

    def reregistered(self, driver: SchedulerDriver, master_info: Any) -> None:
        """As above."""

    def disconnected(self, driver: SchedulerDriver) -> None:
        """The driver subscribes again."""

    def inverseOffers(self, driver: SchedulerDriver, offers: list[Any]) -> None:  # noqa: N802
        """No maintenance in a demo."""

    def offerRescinded(self, driver: SchedulerDriver, offer_id: Any) -> None:  # noqa: N802
        """No offer is kept."""

    def inverseOfferRescinded(self, driver: SchedulerDriver, offer_id: Any) -> None:  # noqa: N802
        """As above."""

    def frameworkMessage(self, driver: SchedulerDriver, executor_id: Any, agent_id: Any, data: str) -> None:  # noqa: N802
        """Command executors send none."""

    def executorLost(self, driver: SchedulerDriver, executor_id: Any, agent_id: Any, status: int | None) -> None:  # noqa: N802
        """The task's own status update tells."""

    def slaveLost(self, driver: SchedulerDriver, agent_id: Any) -> None:  # noqa: N802
        with self._changed:
            self._trouble = "the agent was lost"
            self._changed.notify_all()

    def processHeartBeat(self, driver: SchedulerDriver) -> None:  # noqa: N802
        """Nothing to do."""
