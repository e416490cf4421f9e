from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from serenity.wire.mesos import provider as module
from serenity.wire.mesos.provider import ProviderDriver, new_version, slack
from serenity.wire.mesos.resources import Resources
from serenity.wire.mesos.subscription import Backoff, FinalError
from serenity.wire.transport.http import HttpError, Unreachable

INFO = {"type": "org.serenity.slack", "name": "slack"}


@pytest.fixture
def events(shape: Callable[[str], Any]) -> dict[str, Any]:
    return {each["type"]: each for each in shape("provider_events.json")}


@pytest.fixture
def provider_id(events: Any) -> str:
    return str(events["SUBSCRIBED"]["subscribed"]["provider_id"]["value"])


@pytest.fixture
def make(
    peer: Any, recorder: Any, events: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., ProviderDriver]]:
    monkeypatch.setattr(module, "_NOTICE_S", 0.05)
    peer.greeting = events["SUBSCRIBED"]
    made: list[ProviderDriver] = []

    def build(known_id: str | None = None, **more: Any) -> ProviderDriver:
        driver = ProviderDriver(recorder, peer.address, INFO, known_id, **more)
        driver._subscription._backoff = Backoff(first_s=0.01, max_s=0.05)
        made.append(driver)
        return driver

    yield build
    for driver in made:
        driver.stop()


@pytest.fixture
def driver(make: Callable[..., ProviderDriver], recorder: Any, eventually: Callable[..., Any]) -> ProviderDriver:
    """One that is subscribed."""
    started = make()
    started.start()
    eventually(lambda: "subscribed" in recorder.names())
    return started


def ids(peer: Any) -> list[str | None]:
    """The provider id of each SUBSCRIBE."""
    infos = [each["subscribe"]["resource_provider_info"] for each in peer.sent("SUBSCRIBE")]
    return [info.get("id", {}).get("value") for info in infos]


def test_it_subscribes_reports_and_leaves(
    driver: ProviderDriver, peer: Any, recorder: Any, provider_id: str, eventually: Callable[..., Any]
) -> None:
    assert ids(peer) == [None]
    assert recorder.told == [("subscribed", provider_id)] and driver.provider_id == provider_id
    driver.update_state(slack("be", cpus=2.5, mem=1024), b"0123456789abcdef")
    (call,) = peer.sent("UPDATE_STATE")
    assert call["resource_provider_id"] == {"value": provider_id}
    assert peer.requests[-1].headers["mesos-stream-id"] == "stream-0"
    assert call["update_state"]["resource_version_uuid"] == {"value": "MDEyMzQ1Njc4OWFiY2RlZg=="}
    cpus = next(each for each in call["update_state"]["resources"] if each["name"] == "cpus")
    assert cpus == {
        "name": "cpus",
        "type": "SCALAR",
        "scalar": {"value": 2.5},
        "revocable": {},
        "reservations": [{"type": "STATIC", "role": "be"}],  # Mesos launches nothing on DYNAMIC revocable ones.
        "provider_id": {"value": provider_id},
    }
    driver.stop()
    eventually(lambda: peer.streams[0].left)
    assert recorder.names() == ["subscribed"]


def test_a_publish_is_answered_ok_whatever_is_done_about_it(
    driver: ProviderDriver, peer: Any, recorder: Any, events: Any, eventually: Callable[..., Any]
) -> None:
    publish, told, done = events["PUBLISH_RESOURCES"]["publish_resources"], [], threading.Event()
    recorder.published = lambda held: (told.append(held), done.wait(60.0))
    connections = peer.connections
    peer.streams[0].event(events["PUBLISH_RESOURCES"])
    eventually(lambda: told and peer.sent("UPDATE_PUBLISH_RESOURCES_STATUS"))
    assert not done.is_set()
    done.set()
    (call,) = peer.sent("UPDATE_PUBLISH_RESOURCES_STATUS")
    assert call["update_publish_resources_status"] == {"uuid": publish["uuid"], "status": "OK"}
    assert (told[0].cpus, told[0].mem_mb) == (0.6, 96.0)
    assert peer.connections == connections  # It was there before: no file is needed for it now.


def answered(peer: Any) -> list[str]:
    """The uuids of all answers that have arrived, taken or not."""
    said = peer.sent("UPDATE_PUBLISH_RESOURCES_STATUS")
    return [each["update_publish_resources_status"]["uuid"]["value"] for each in said]


def publish(peer: Any, name: str) -> None:
    peer.streams[-1].event({"type": "PUBLISH_RESOURCES", "publish_resources": {"uuid": {"value": name}}})


class Failing:
    """What a peer does with the next calls, until it is mended."""

    def __init__(self, peer: Any, fail: Callable[[Any], None]) -> None:
        self.mended = False
        peer.calls.extend([lambda answer: answer.whole(202) if self.mended else fail(answer)] * 1000)


@pytest.mark.parametrize("fail", [lambda answer: answer.cut(), lambda answer: answer.whole(503)], ids=["cut", "503"])
def test_a_publish_is_answered_until_the_agent_has_taken_it_and_others_come_meanwhile(
    driver: ProviderDriver, peer: Any, recorder: Any, eventually: Callable[..., Any], fail: Callable[[Any], None]
) -> None:
    eventually(lambda: peer.connections == 2)  # The one for answers, too.
    failing = Failing(peer, fail)
    publish(peer, "a")
    eventually(lambda: answered(peer).count("a") > 4)
    publish(peer, "b")
    eventually(lambda: recorder.names().count("published") == 2)  # The stream is read on.
    eventually(lambda: answered(peer).count("b") > 1)
    failing.mended, before = True, len(answered(peer))
    eventually(lambda: {"a", "b"} <= set(answered(peer)[before:]))
    publish(peer, "c")
    eventually(lambda: "c" in answered(peer))
    # At most one was under way; what was taken is not said again.
    assert sorted(answered(peer)[-3:]) == ["a", "b", "c"] and len(answered(peer)) <= before + 4
    assert len(peer.streams) == 1 and driver.subscribed


def test_an_answer_is_not_carried_over_to_another_stream(
    driver: ProviderDriver, peer: Any, recorder: Any, eventually: Callable[..., Any]
) -> None:
    failing = Failing(peer, lambda answer: answer.cut())
    publish(peer, "a")
    eventually(lambda: answered(peer).count("a") > 1)
    peer.pages["/version"] = {}  # It is asked before the next stream, on the connection of nobody who fails.
    driver.reopen()
    eventually(lambda: recorder.names().count("subscribed") == 2)
    failing.mended, before = True, len(answered(peer))
    publish(peer, "b")
    eventually(lambda: "b" in answered(peer))
    assert answered(peer)[before:] == ["b"]
    assert peer.requests[-1].headers["mesos-stream-id"] == "stream-1"


def test_what_fails_just_now_is_answered_before_the_stream_is_closed(
    driver: ProviderDriver, peer: Any, recorder: Any, eventually: Callable[..., Any]
) -> None:
    peer.calls.extend([lambda answer: answer.cut()] * 3)
    publish(peer, "a")
    eventually(lambda: "published" in recorder.names())
    driver.stop()
    assert answered(peer) == ["a"] * 4


def test_a_publish_does_not_wait_for_a_report_that_the_agent_is_slow_to_take(
    driver: ProviderDriver, peer: Any, events: Any, eventually: Callable[..., Any]
) -> None:
    taken = threading.Event()
    peer.calls.append(lambda answer: (taken.wait(10.0), answer.whole(202)))
    report = threading.Thread(target=driver.update_state, args=(slack("be", cpus=1), new_version()))
    report.start()
    eventually(lambda: peer.sent("UPDATE_STATE"))
    peer.streams[0].event(events["PUBLISH_RESOURCES"])
    eventually(lambda: peer.sent("UPDATE_PUBLISH_RESOURCES_STATUS"))
    assert report.is_alive()
    taken.set()
    report.join(5.0)
    assert not report.is_alive()


def test_a_publish_of_nonsense_is_answered_too(
    driver: ProviderDriver, peer: Any, events: Any, eventually: Callable[..., Any]
) -> None:
    events["PUBLISH_RESOURCES"]["publish_resources"]["resources"] = [{"name": "cpus"}]
    for event in ({"no": "type"}, [], {"type": "SURPRISE"}, events["PUBLISH_RESOURCES"]):
        peer.streams[0].event(event)
    eventually(lambda: len(peer.sent("UPDATE_PUBLISH_RESOURCES_STATUS")) == 1)
    assert len(peer.streams) == 1


def test_it_comes_back_under_its_id_when_the_old_stream_is_over(
    driver: ProviderDriver, peer: Any, recorder: Any, provider_id: str, eventually: Callable[..., Any]
) -> None:
    left_before: list[bool] = []

    def look(answer: Any) -> None:
        left_before.append(peer.streams[0].left)
        peer.streams.append(answer)
        answer.begin_stream("stream-1")
        answer.event(peer.greeting)

    peer.subscribes.append(look)
    driver.reopen()
    eventually(lambda: recorder.names() == ["subscribed", "unsubscribed", "subscribed"])
    assert ids(peer) == [None, provider_id]
    assert left_before == [True]
    driver.update_state(Resources(), new_version())
    assert peer.requests[-1].headers["mesos-stream-id"] == "stream-1"


def test_with_a_known_id_the_agent_must_be_awake_before_it_is_asked(
    peer: Any, make: Callable[..., ProviderDriver], recorder: Any, eventually: Callable[..., Any]
) -> None:
    """A SUBSCRIBE in a hanging agent's queue and a second one behind it would abort the agent when it wakes."""
    asleep = threading.Event()
    peer.calls.append(lambda answer: (asleep.wait(0.3), answer.whole(404)))
    make("p1").start()
    eventually(lambda: peer.requests)
    assert (peer.requests[0].method, peer.requests[0].path) == ("GET", "/version")
    assert not asleep.wait(0.1) and peer.sent("SUBSCRIBE") == []
    eventually(lambda: ids(peer) == ["p1"])


def test_an_id_that_the_agent_does_not_know_is_given_up(
    peer: Any, make: Callable[..., ProviderDriver], recorder: Any, provider_id: str, eventually: Callable[..., Any]
) -> None:
    peer.subscribes.append(lambda answer: (answer.begin_stream(), answer.end()))
    driver = make("old-work-dir")
    driver.start()
    eventually(lambda: ("subscribed", provider_id) in recorder.told)
    assert ids(peer) == ["old-work-dir", None]
    assert driver.provider_id == provider_id


def test_an_agent_that_dies_before_its_first_event_does_not_cost_the_id(
    peer: Any, make: Callable[..., ProviderDriver], recorder: Any, eventually: Callable[..., Any]
) -> None:
    peer.subscribes.extend(
        [lambda answer: (answer.begin_stream(), answer.cut()), lambda answer: answer.whole(503, b"recovering")]
    )
    make("p1").start()
    eventually(lambda: "subscribed" in recorder.names())
    assert ids(peer) == ["p1", "p1", "p1"]


def test_an_agent_that_just_starts_has_no_route_yet(
    peer: Any, make: Callable[..., ProviderDriver], recorder: Any, eventually: Callable[..., Any]
) -> None:
    peer.subscribes.extend([lambda answer: answer.whole(404, b"404 Not Found.")] * 3)
    make().start()
    eventually(lambda: "subscribed" in recorder.names())
    assert "failed" not in recorder.names()


@pytest.mark.parametrize(
    ("status", "attempts", "remedy"),
    [
        (400, 1, "does not take what this release"),
        (401, 1, "Check the principal"),
        (403, 1, "Check the principal"),
        (404, 10, "Mesos 1.8 or newer"),
    ],
)
def test_an_agent_that_will_not_have_it_ends_it(
    peer: Any, make: Callable[..., ProviderDriver], recorder: Any, status: int, attempts: int, remedy: str
) -> None:
    peer.subscribes.extend([lambda answer: answer.whole(status)] * 20)
    driver = make()
    driver.start()
    driver._subscription.join(5)
    name, reason = recorder.told[-1]
    assert name == "failed" and f"HTTP {status}" in reason and remedy in reason
    assert len(peer.sent("SUBSCRIBE")) == attempts


def test_nothing_is_subscribed_that_must_not_be(
    peer: Any, make: Callable[..., ProviderDriver], recorder: Any, provider_id: str
) -> None:
    objections = [Unreachable("not yet"), HttpError(503, b"recovering", "GET /state"), FinalError("there is another")]

    def object_() -> None:
        raise objections.pop(0)

    driver = make(before=object_)
    driver.start()
    driver._subscription.join(5)
    assert recorder.names() == ["unsubscribed", "unsubscribed", "failed"] and objections == []
    assert recorder.told[-1] == ("failed", "there is another")
    assert peer.sent("SUBSCRIBE") == []


def test_reports_need_a_subscription(
    peer: Any, make: Callable[..., ProviderDriver], driver: ProviderDriver, recorder: Any
) -> None:
    total = slack(None, cpus=1)
    with pytest.raises(Unreachable, match="UPDATE_STATE was not sent"):
        make("p1").update_state(total, new_version())
    peer.calls.append(lambda answer: answer.whole(400, b"wrong stream"))
    with pytest.raises(HttpError, match="UPDATE_STATE: HTTP 400: wrong stream"):
        driver.update_state(total, new_version())
    driver.stop()
    with pytest.raises(Unreachable):
        driver.update_state(total, new_version())


def test_slack_of_nothing_is_an_empty_total() -> None:
    assert slack("be", cpus=0, mem=0).to_json() == []
    assert len(new_version()) == 16 and new_version() != new_version()
