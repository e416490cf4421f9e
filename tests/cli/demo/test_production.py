"""The demo's production, beside what the master may do to it."""

from __future__ import annotations

from typing import Any

from serenity.cli.demo.production import Production, Service

OFFERED = [
    {"name": "cpus", "type": "SCALAR", "scalar": {"value": 2.0}, "role": "*"},
    {"name": "mem", "type": "SCALAR", "scalar": {"value": 1024.0}, "role": "*"},
]


class Driver:
    """Of a master that says what it is told to."""

    def __init__(self) -> None:
        self.launched: list[str] = []

    def launchTasks(self, offer_id: Any, tasks: list[Any], filters: Any) -> None:  # noqa: N802
        self.launched += [task["task_id"]["value"] for task in tasks]

    def acknowledgeStatusUpdate(self, status: Any) -> None:  # noqa: N802
        """It has come."""


def told(production: Production, driver: Any, state: str, **more: str) -> None:
    production.statusUpdate(driver, {"task_id": {"value": "web"}, "state": state, **more})


def test_what_was_launched_with_an_offer_rescinded_meanwhile_waits_for_the_next() -> None:
    driver: Any = Driver()
    production = Production("127.0.0.1:5050", "nobody", [Service("web", ("sleep", "60"), 1.0, 64.0)])
    offer = {"id": {"value": "O1"}, "agent_id": {"value": "S0"}, "resources": OFFERED}
    production.resourceOffers(driver, [offer])
    told(production, driver, "TASK_LOST", reason="REASON_INVALID_OFFERS", message="Offer O1 is no longer valid")
    assert production.trouble() is None
    production.resourceOffers(driver, [offer])
    assert driver.launched == ["web", "web"]
    told(production, driver, "TASK_LOST", reason="REASON_AGENT_REMOVED")
    assert production.trouble() == "production task web ended: TASK_LOST"
