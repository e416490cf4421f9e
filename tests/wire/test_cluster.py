"""The drivers against a whole Mesos: the embedded one, and a real one where there is one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from serenity.wire.mesos.leader import leading_master
from serenity.wire.mesos.provider import ProviderDriver, new_version, slack
from serenity.wire.mesos.resources import Resources
from serenity.wire.mesos.scheduler import SchedulerDriver
from serenity.wire.mesos.state import AgentReader, MasterReader
from serenity.wire.transport.http import Endpoint, get_json

ROLE = "wire-test"


@pytest.fixture
def framework(cluster: Any) -> Iterator[Callable[..., SchedulerDriver]]:
    """Starts schedulers; tears down what they have registered, so that none keeps the shared cluster's offers."""
    made: list[SchedulerDriver] = []

    def start(scheduler: Any, framework_id: str | None = None) -> SchedulerDriver:
        info: dict[str, Any] = {
            "user": "nobody",
            "name": "wire test",
            "roles": [ROLE],
            "failover_timeout": 60.0,
            "capabilities": [
                {"type": kind} for kind in ("REVOCABLE_RESOURCES", "MULTI_ROLE", "RESERVATION_REFINEMENT")
            ],
        }
        if framework_id is not None:
            info["id"] = {"value": framework_id}
        made.append(SchedulerDriver(scheduler, info, cluster.master))
        made[-1].start()
        return made[-1]

    yield start
    for driver in made:
        driver.stop(failover=not driver.subscribed)


@pytest.fixture
def provider(cluster: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., ProviderDriver]]:
    made: list[ProviderDriver] = []

    def start(told: Any, known_id: str | None = None) -> ProviderDriver:
        info = {"type": "org.serenity.slack", "name": f"wire-{request.node.name.partition('[')[0]}"}
        made.append(ProviderDriver(told, cluster.agent, info, known_id))
        made[-1].start()
        return made[-1]

    yield start
    for driver in made:
        driver.stop()


def frameworks(cluster: Any) -> dict[str, bool]:
    """Whether each framework that the master knows is connected to it."""
    listed = get_json(Endpoint.parse(cluster.master), "/state")["frameworks"]
    return {each["id"]: each.get("connected", each["active"]) for each in listed}


def revocable_cpus(cluster: Any) -> float:
    (agent,) = MasterReader(leading_master(cluster.master)).agents()
    return float(agent["resources"].get("cpus_revocable", 0.0))


def offered(recorder: Any) -> list[Resources]:
    """Of each offer, oldest first."""
    offers = [offer for told in list(recorder.told) if told[0] == "resourceOffers" for offer in told[1]]
    return [Resources.from_json(offer["resources"]) for offer in offers]


def test_a_scheduler_sees_offers_and_stop_leaves_its_framework_known(
    cluster: Any, framework: Callable[..., SchedulerDriver], recorder: Any, eventually: Callable[..., Any]
) -> None:
    driver = framework(recorder)
    eventually(lambda: offered(recorder))
    assert offered(recorder)[0].regular.cpus > 0
    framework_id = driver.framework_id
    assert frameworks(cluster)[framework_id]
    driver.stop()
    eventually(lambda: frameworks(cluster).get(framework_id) is False)
    again = type(recorder)()
    framework(again, framework_id)
    eventually(lambda: again.names()[:1] == ["reregistered"])
    eventually(lambda: offered(again))


def test_a_provider_s_slack_comes_at_once_and_goes_with_it(
    cluster: Any,
    framework: Callable[..., SchedulerDriver],
    provider: Callable[..., ProviderDriver],
    recorder: Any,
    eventually: Callable[..., Any],
) -> None:
    driver = framework(recorder)
    told = type(recorder)()
    estimator = provider(told)
    eventually(lambda: estimator.subscribed)
    total = slack(ROLE, cpus=1.5, mem=256)
    estimator.update_state(total, new_version())

    def ours() -> list[Resources]:
        return [each.of_provider(estimator.provider_id) for each in offered(recorder)]

    began = time.monotonic()
    eventually(lambda: any(ours()))
    assert time.monotonic() - began < 1.0
    seen = next(each for each in ours() if each)
    # As it was reported, and allocated to us; nothing of it is mixed up with the agent's own.
    assert seen.without_field("allocation_info").without_field("provider_id") == total
    assert {kind.role for kind in seen.kinds} == {ROLE} and not seen.regular
    held = [offer["id"] for each in recorder.told if each[0] == "resourceOffers" for offer in each[1]]
    driver.declineOffer(held, {"refuse_seconds": 0})
    estimator.stop()
    eventually(lambda: revocable_cpus(cluster) == 0.0)


def test_a_provider_comes_back_under_its_id_as_often_as_it_likes(
    cluster: Any, provider: Callable[..., ProviderDriver], recorder: Any, eventually: Callable[..., Any]
) -> None:
    """Each return follows at once on the leave before: two streams with one id would abort the agent."""
    driver = provider(recorder)
    eventually(lambda: driver.subscribed)
    first_id = driver.provider_id
    version = new_version()
    for returns in range(2, 5):
        driver.reopen()
        eventually(lambda n=returns: recorder.names().count("subscribed") == n)
        driver.update_state(slack(None, cpus=0.5), version)
        eventually(lambda: revocable_cpus(cluster) == 0.5)
    driver.stop()
    heir = type(recorder)()
    successor = provider(heir, first_id)
    eventually(lambda: successor.subscribed)
    assert heir.told == [("subscribed", first_id)]
    assert AgentReader(cluster.agent).look().identity.cpus > 0


def test_a_provider_whose_id_nobody_knows_gets_another(
    provider: Callable[..., ProviderDriver], recorder: Any, eventually: Callable[..., Any]
) -> None:
    driver = provider(recorder, "00000000-0000-0000-0000-000000000000")
    eventually(lambda: driver.subscribed)
    assert driver.provider_id not in (None, "00000000-0000-0000-0000-000000000000")


def test_an_agent_is_read(cluster: Any) -> None:
    reader = AgentReader(cluster.agent)
    look = reader.look()
    assert look.identity.ip == "127.0.0.1" and look.identity.mem_bytes > 0
    assert [each.container_id for each in look.containers] == [each.container_id for each in reader.containers()]
    assert reader.version() == look.identity.version
    assert reader.flags()["port"] == cluster.agent.rpartition(":")[2]
