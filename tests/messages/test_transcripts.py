"""Everything that a real Mesos was recorded to say goes through our drivers and readers, as it came."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from serenity.framework.mesos.calls import Acknowledge
from serenity.framework.mesos.scheduler import make_call
from serenity.wire.mesos.executor import ExecutorDriver
from serenity.wire.mesos.leader import leading_master
from serenity.wire.mesos.provider import ProviderDriver
from serenity.wire.mesos.resources import Resources
from serenity.wire.mesos.scheduler import SchedulerDriver
from serenity.wire.mesos.state import AgentReader, Container, MasterReader
from tests.messages.conftest import FRAMEWORK, PROVIDER
from tests.messages.schema import Schema
from tests.messages.transcripts import TRANSCRIPTS, Transcript, few_shapes, whole_session
from tests.polling import eventually
from tests.wire.conftest import Peer
from tests.wire.conftest import Recorder as Callbacks

MIB = 1 << 20


@pytest.fixture(params=["whole session", "few shapes"])
def transcript(request: pytest.FixtureRequest) -> Transcript:
    if request.param == "few shapes":
        return few_shapes()
    if not TRANSCRIPTS.is_dir():
        pytest.skip("no ../shared/mesos/transcripts beside the repository")
    return whole_session()


def play(peer: Peer, driver: Any, told: Callbacks, events: list[Any], expected: list[tuple[Any, ...]]) -> None:
    """Has the events come on one subscription, and the callbacks told what is expected, in order."""
    peer.greeting = events[0]
    driver.start()
    try:
        eventually(lambda: told.told, "the subscription")
        for event in events[1:]:
            peer.streams[0].event(event)
        eventually(lambda: len(told.told) >= len(expected), "the last event")
    finally:
        driver.stop()
    assert told.told[: len(expected)] == expected
    assert {name for name, *_ in told.told[len(expected) :]} <= {"unsubscribed"}  # At the driver's stop.


def to_scheduler(event: Any, master_port: int) -> tuple[Any, ...]:
    kind, body = event["type"], event.get(event["type"].lower(), {})
    match kind:
        case "SUBSCRIBED":
            master = body["master_info"]
            known = {"hostname": master["hostname"], "port": master_port, "version": master["version"]}
            return ("registered", body["framework_id"], known)
        case "OFFERS":
            return ("resourceOffers", body["offers"])
        case "UPDATE":
            return ("statusUpdate", body["status"])
        case "FAILURE":
            return ("executorLost", body["executor_id"], body["agent_id"], body["status"])
        case "HEARTBEAT":
            return ("processHeartBeat",)
    raise AssertionError(f"no callback is foreseen for {kind}")


class Acknowledging(Callbacks):
    """Answers as the framework does."""

    def statusUpdate(self, driver: SchedulerDriver, status: Any) -> None:  # noqa: N802
        self.told.append(("statusUpdate", status))
        if "uuid" in status:
            make_call(driver, Acknowledge(status))


def test_the_schedulers_events(
    transcript: Transcript, peer: Peer, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    events, told = transcript.events["scheduler"], Acknowledging()
    driver = SchedulerDriver(told, FRAMEWORK, peer.address)
    play(peer, driver, told, events, [to_scheduler(each, peer.port) for each in events])
    updates = [each["update"]["status"] for each in events if each["type"] == "UPDATE"]
    acknowledged = [each["acknowledge"]["uuid"] for each in peer.sent("ACKNOWLEDGE")]
    assert acknowledged == [each["uuid"] for each in updates if "uuid" in each] != []
    assert errors(caplog) == []
    assert said_wrongly(peer, request, "scheduler") == []


def to_executor(event: Any) -> tuple[Any, ...]:
    kind, body = event["type"], event.get(event["type"].lower(), {})
    match kind:
        case "SUBSCRIBED":
            return ("registered", body["executor_info"], body["framework_info"], body["agent_info"])
        case "LAUNCH":
            return ("launchTask", body["task"])
        case "MESSAGE":
            return ("frameworkMessage", body["data"])
        case "KILL":
            grace = body.get("kill_policy", {}).get("grace_period")
            return ("killTask", body["task_id"], grace["nanoseconds"] / 1e9 if grace else None)
        case "ACKNOWLEDGED":
            return ("acknowledged", body["task_id"]["value"], body["uuid"])
        case "SHUTDOWN":
            return ("shutdown",)
    raise AssertionError(f"no callback is foreseen for {kind}")


def test_the_executors_events(
    transcript: Transcript, peer: Peer, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    events, told = transcript.events["executor"], Callbacks()
    driver = ExecutorDriver(told, {**transcript.environ, "MESOS_AGENT_ENDPOINT": peer.address})
    play(peer, driver, told, events, [to_executor(each) for each in events])
    assert driver.container_id == events[0]["subscribed"]["container_id"]["value"]
    assert len(peer.sent("SUBSCRIBE")) == 1
    assert errors(caplog) == []
    assert said_wrongly(peer, request, "executor") == []


def to_provider(event: Any) -> tuple[Any, ...]:
    if event["type"] == "SUBSCRIBED":
        return ("subscribed", event["subscribed"]["provider_id"]["value"])
    return ("published", Resources.from_json(event["publish_resources"]["resources"]))


def test_the_providers_events(
    transcript: Transcript, peer: Peer, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> None:
    events, told = transcript.events["provider"], Callbacks()
    driver = ProviderDriver(told, peer.address, PROVIDER)
    play(peer, driver, told, events, [to_provider(each) for each in events])
    asked = [each["publish_resources"]["uuid"] for each in events[1:]]
    answers = [each["update_publish_resources_status"] for each in peer.sent("UPDATE_PUBLISH_RESOURCES_STATUS")]
    assert answers == [{"uuid": each, "status": "OK"} for each in asked] != []
    assert errors(caplog) == []
    assert said_wrongly(peer, request, "provider") == []


def said_wrongly(peer: Peer, request: pytest.FixtureRequest, side: str) -> list[str]:
    """Asked last: without a network the rest of the test counts all the same."""
    schema: Schema = request.getfixturevalue("schema")
    calls = [each.json for each in peer.requests if each.method == "POST"]
    assert calls
    return [complaint for call in calls for complaint in schema.complaints(side, "call", call)]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]


def test_the_agents_answers(transcript: Transcript, peer: Peer) -> None:
    peer.pages = transcript.pages
    agent_id = transcript.environ["MESOS_SLAVE_ID"]
    reader = AgentReader(peer.address)
    who, containers = reader.look().identity, reader.containers()
    assert (who.agent_id, who.hostname, who.version, who.ip) == (agent_id, "127.0.0.1", "1.12.0", "127.0.0.1")
    assert (who.cpus, who.mem_bytes) == (4.0, 4096 * MIB)
    assert {each.executor_id: allocation(each) for each in containers} == {
        "serenity-probe": (0.6, 96 * MIB, True, 29813, {"kill-me": {"job": "j1"}}),
        "memcached": (2.1, 288 * MIB, False, 29755, {"memcached": {}}),
    }
    assert {each.framework_name: each.container_id for each in containers} == {
        "transcript": "d25bbdfb-c623-4833-a1cb-3b64b7b8b103",
        "mesos-execute instance": "a7550972-f697-4a7d-9e4d-64e701800244",
    }


def allocation(container: Container) -> tuple[float, int, bool, int | None, dict[str, dict[str, str]]]:
    tasks = {each.task_id: dict(each.labels) for each in container.tasks}
    return container.cpus, container.mem_bytes, container.revocable, container.pid, tasks


def test_the_masters_answers(transcript: Transcript, peer: Peer) -> None:
    peer.pages = transcript.pages
    (agent,) = MasterReader(leading_master(peer.address)).agents()
    assert (agent["id"], agent["active"]) == (transcript.environ["MESOS_SLAVE_ID"], True)
    assert agent["resources"]["cpus_revocable"] == 3.0 and agent["used_resources"]["cpus_revocable"] == 0.6
