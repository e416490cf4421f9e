"""A scheduler that is none of Serenity's, and runs one task on the slack beside it."""

from __future__ import annotations

from typing import Any

from serenity.cli.demo.production import Production, Service
from serenity.wire.mesos.resources import Resources
from serenity.wire.mesos.scheduler import SchedulerDriver


class Stranger(Production):
    """In a role of its own: the slack must be for all."""

    def __init__(self, master: str, user: str, service: Service) -> None:
        super().__init__(master, user, [service])
        capabilities = ("MULTI_ROLE", "RESERVATION_REFINEMENT", "REVOCABLE_RESOURCES")
        framework = {
            "name": "stranger",
            "user": user,
            "roles": ["stranger"],
            "capabilities": [{"type": each} for each in capabilities],
        }
        self._driver = SchedulerDriver(self, framework, master)

    def resourceOffers(self, driver: Any, offers: list[Any]) -> None:  # noqa: N802
        for offer in offers:
            left = Resources.from_json(offer["resources"]).revocable
            tasks = []
            for name, service in list(self._waiting.items()):
                cpus, mem = left.take("cpus", service.cpus), left.take("mem", service.mem_mb)
                if cpus is not None and mem is not None:
                    left = left - cpus - mem
                    tasks.append(service.task_info(offer["agent_id"]["value"], cpus + mem))
                    del self._waiting[name]
            driver.launchTasks(offer["id"], tasks, filters={"refuse_seconds": 0.1 if self._waiting else 600.0})
