from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from serenity.wire.mesos.scheduler import CallRefused, Disconnected, SchedulerDriver, decode_data, encode_data
from serenity.wire.mesos.subscription import Backoff

FRAMEWORK = {"user": "nobody", "name": "test", "roles": ["be"], "capabilities": [{"type": "REVOCABLE_RESOURCES"}]}
QUICK = Backoff(first_s=0.01, max_s=0.05)


@pytest.fixture
def events(shape: Callable[[str], Any]) -> dict[str, Any]:
    """One recorded event of each type; of UPDATE the one with the kill record."""
    recorded = {each["type"]: each for each in shape("scheduler_events.json")}
    recorded["UPDATE"] = next(
        each
        for each in shape("scheduler_events.json")
        if each.get("update", {}).get("status", {}).get("reason") == "REASON_CONTAINER_PREEMPTED"
    )
    return recorded


@pytest.fixture
def make(peer: Any, recorder: Any, events: dict[str, Any]) -> Iterator[Callable[..., SchedulerDriver]]:
    peer.greeting = events["SUBSCRIBED"]
    made: list[SchedulerDriver] = []

    def build(framework: Any = FRAMEWORK, **options: Any) -> SchedulerDriver:
        made.append(SchedulerDriver(recorder, framework, options.pop("master", peer.address), backoff=QUICK, **options))
        return made[-1]

    yield build
    for driver in made:
        driver.stop()


@pytest.fixture
def driver(make: Callable[..., SchedulerDriver], recorder: Any, eventually: Callable[..., Any]) -> SchedulerDriver:
    """One that is registered."""
    started = make()
    started.start()
    eventually(lambda: "registered" in recorder.names())
    return started


def test_it_subscribes_with_the_framework_as_given(driver: SchedulerDriver, peer: Any, recorder: Any) -> None:
    (subscribe,) = peer.sent("SUBSCRIBE")
    assert subscribe["subscribe"]["framework_info"] == FRAMEWORK  # GPU_RESOURCES is not forced on.
    name, framework_id, master = recorder.told[0]
    assert (name, framework_id["value"]) == ("registered", driver.framework_id)
    assert master["version"] == "1.12.0" and master["hostname"] == "127.0.0.1"
    assert driver.subscribed


def test_every_recorded_event_reaches_its_callback(
    driver: SchedulerDriver, peer: Any, recorder: Any, shape: Callable[[str], Any], eventually: Callable[..., Any]
) -> None:
    expected = {
        "OFFERS": "resourceOffers",
        "UPDATE": "statusUpdate",
        "HEARTBEAT": "processHeartBeat",
        "FAILURE": "executorLost",
        "RESCIND": "offerRescinded",
        "MESSAGE": "frameworkMessage",
    }
    rescind = {"type": "RESCIND", "rescind": {"offer_id": {"value": "O2"}}}
    message = {"executor_id": {"value": "e"}, "agent_id": {"value": "a"}, "data": "aGk="}
    recorded = [each for each in shape("scheduler_events.json") if each["type"] != "SUBSCRIBED"]
    played = [*recorded, rescind, {"type": "MESSAGE", "message": message}]
    for event in played:
        peer.streams[0].event(event)
    eventually(lambda: len(recorder.told) == 1 + len(played))
    assert recorder.names()[1:] == [expected[event["type"]] for event in played]
    kill = next(told[1] for told in recorder.told if told[0] == "statusUpdate" and "data" in told[1])
    assert kill["state"] == "TASK_KILLED" and decode_data(kill["data"]) == b'{"probe":"record"}'
    assert [told[3] for told in recorder.told if told[0] == "executorLost"] == [0]


@pytest.mark.parametrize(
    "event",
    [{"type": "SURPRISE", "surprise": {}}, {"no": "type"}, {"type": "UPDATE"}, {"type": "UPDATE", "update": {}}, [], 1],
)
def test_an_odd_event_is_passed_over(
    driver: SchedulerDriver, peer: Any, recorder: Any, events: Any, event: Any, eventually: Callable[..., Any]
) -> None:
    peer.streams[0].event(event)
    peer.streams[0].event(events["HEARTBEAT"])
    eventually(lambda: "processHeartBeat" in recorder.names())
    assert driver.subscribed and len(peer.streams) == 1


def test_calls_carry_framework_and_stream(driver: SchedulerDriver, peer: Any, events: Any) -> None:
    status = events["UPDATE"]["update"]["status"]
    driver.acknowledgeStatusUpdate(status)
    driver.killTask({"value": "t"}, {"value": "a"}, {"grace_period": {"nanoseconds": 5}})
    driver.reconcileTasks([{"task_id": {"value": "t"}, "agent_id": {"value": "a"}, "state": "TASK_RUNNING"}])
    driver.reconcileTasks([])
    driver.shutdownExecutor({"value": "e"}, {"value": "a"})
    driver.acceptOffers([{"value": "O1"}], [{"type": "LAUNCH", "launch": {"task_infos": []}}], {"refuse_seconds": 1})
    driver.declineOffer([{"value": "O1"}])
    for call in peer.requests[1:]:
        assert call.headers["mesos-stream-id"] == "stream-0"
        assert call.json["framework_id"] == {"value": driver.framework_id}
    (acknowledge,) = peer.sent("ACKNOWLEDGE")
    assert acknowledge["acknowledge"] == {key: status[key] for key in ("agent_id", "task_id", "uuid")}
    (kill,) = peer.sent("KILL")
    assert kill["kill"]["kill_policy"] == {"grace_period": {"nanoseconds": 5}}
    explicit, implicit = (each["reconcile"]["tasks"] for each in peer.sent("RECONCILE"))
    assert explicit == [{"task_id": {"value": "t"}, "agent_id": {"value": "a"}}]
    assert implicit == []
    assert len(peer.sent("ACCEPT")) == len(peer.sent("DECLINE")) == len(peer.sent("SHUTDOWN")) == 1


def test_a_reconciliation_is_not_acknowledged(driver: SchedulerDriver, peer: Any, shape: Callable[[str], Any]) -> None:
    for event in shape("scheduler_events.json"):
        status = event.get("update", {}).get("status", {})
        if status.get("reason") == "REASON_RECONCILIATION":
            driver.acknowledgeStatusUpdate(status)
    assert peer.sent("ACKNOWLEDGE") == []


def test_calls_while_disconnected_raise(make: Callable[..., SchedulerDriver]) -> None:
    never = make()
    calls: list[Callable[[], Any]] = [
        lambda: never.reviveOffers(),
        lambda: never.suppressOffers(),
        lambda: never.acceptOffers([{"value": "O1"}], [{"type": "LAUNCH"}]),
        lambda: never.reconcileTasks([]),
        lambda: never.killTask({"value": "t"}),
        lambda: never.teardown(),
    ]
    for call in calls:
        with pytest.raises(Disconnected) as caught:
            call()
        assert not caught.value.may_have_arrived


def test_no_call_is_sent_between_the_answer_to_subscribe_and_its_first_event(
    peer: Any, make: Callable[..., SchedulerDriver], recorder: Any, events: Any, eventually: Callable[..., Any]
) -> None:
    """A master that still asks its authorizer takes no calls yet (403); to us that is no refusal."""
    peer.greeting = None
    driver = make(framework={**FRAMEWORK, "id": events["SUBSCRIBED"]["subscribed"]["framework_id"]})
    driver.start()
    stream = eventually(lambda: peer.streams)[0]
    stream.event(events["HEARTBEAT"])
    eventually(lambda: "processHeartBeat" in recorder.names())
    with pytest.raises(Disconnected):
        driver.reviveOffers()
    stream.event(events["SUBSCRIBED"])
    eventually(lambda: "reregistered" in recorder.names())
    driver.reviveOffers()
    assert len(peer.sent("REVIVE")) == 1


def test_a_callback_may_make_calls_at_once(
    peer: Any, make: Callable[..., SchedulerDriver], recorder: Any, eventually: Callable[..., Any]
) -> None:
    driver = make()
    recorder.registered = lambda *_: driver.reviveOffers()
    driver.start()
    assert eventually(lambda: len(peer.sent("REVIVE")) == 1)


def test_a_name_that_resolves_only_later_is_found(
    peer: Any,
    make: Callable[..., SchedulerDriver],
    recorder: Any,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., Any],
) -> None:
    answers = [socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")] * 3

    def look_up(host: str, port: int, *_: Any, **__: Any) -> Any:
        assert host == "master.test"
        if answers:
            raise answers.pop()
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    make(master=f"master.test:{peer.port}").start()
    eventually(lambda: "registered" in recorder.names())
    assert answers == [] and "error" not in recorder.names()


def test_a_refused_call_says_why_and_the_stream_goes_on(driver: SchedulerDriver, peer: Any) -> None:
    peer.calls.append(lambda answer: answer.whole(400, b"Expecting 'offer_ids'"))
    with pytest.raises(CallRefused, match="ACCEPT: HTTP 400: Expecting 'offer_ids'"):
        driver.acceptOffers([], [{"type": "LAUNCH"}])
    driver.reviveOffers()
    assert len(peer.streams) == 1


@pytest.mark.parametrize("ending", ["cut", "end"])
def test_after_a_lost_stream_it_registers_again_under_its_id(
    driver: SchedulerDriver, peer: Any, recorder: Any, ending: str, eventually: Callable[..., Any]
) -> None:
    getattr(peer.streams[0], ending)()
    eventually(lambda: "reregistered" in recorder.names())
    assert recorder.names() == ["registered", "disconnected", "reregistered"]
    assert peer.sent("SUBSCRIBE")[1]["framework_id"] == {"value": driver.framework_id}
    driver.reviveOffers()
    assert peer.requests[-1].headers["mesos-stream-id"] == "stream-1"


def test_a_call_that_breaks_may_have_arrived_and_brings_a_new_subscription(
    driver: SchedulerDriver, peer: Any, recorder: Any, eventually: Callable[..., Any]
) -> None:
    peer.calls.append(lambda answer: answer.cut())
    with pytest.raises(Disconnected) as caught:
        driver.acceptOffers([{"value": "O1"}], [{"type": "LAUNCH"}])
    assert caught.value.may_have_arrived
    eventually(lambda: "reregistered" in recorder.names())
    assert recorder.names() == ["registered", "disconnected", "reregistered"]
    assert len(peer.sent("ACCEPT")) == 1


def test_behind_a_call_that_hangs_the_others_fail_at_once(
    driver: SchedulerDriver, peer: Any, eventually: Callable[..., Any]
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def hang(answer: Any) -> None:
        asked.set()
        go_on.wait(5)
        answer.cut()

    peer.calls.append(hang)
    outcomes: list[str] = []

    def call() -> None:
        try:
            driver.reviveOffers()
        except Disconnected as error:
            outcomes.append("answered" if error.may_have_arrived else "sent")

    peer.subscribes.extend([lambda answer: answer.whole(503)] * 100)
    threads = [threading.Thread(target=call) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert asked.wait(5)
    time.sleep(0.05)  # Lets the other four queue up.
    go_on.set()
    for thread in threads:
        thread.join(5)
    assert sorted(outcomes) == ["answered", "sent", "sent", "sent", "sent"]
    assert len(peer.sent("REVIVE")) == 1


def test_a_master_that_leads_no_more_is_left(
    driver: SchedulerDriver, peer: Any, recorder: Any, eventually: Callable[..., Any]
) -> None:
    peer.calls.append(lambda answer: answer.whole(307, Location="//127.0.0.1:1/api/v1/scheduler"))
    with pytest.raises(Disconnected, match="HTTP 307"):
        driver.reviveOffers()
    eventually(lambda: "reregistered" in recorder.names())


@pytest.mark.parametrize("location", ["//{self}/", "https://elsewhere:1/", "", "/api"])
def test_a_redirect_that_leads_nowhere_is_tried_again_later(
    peer: Any, make: Callable[..., SchedulerDriver], recorder: Any, location: str, eventually: Callable[..., Any]
) -> None:
    where = location.format(self=peer.address)
    peer.subscribes.extend([lambda answer: answer.whole(307, Location=where)] * 6)
    make().start()
    eventually(lambda: "registered" in recorder.names())
    assert "error" not in recorder.names()


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refused_subscription_is_final_and_says_what_to_check(
    peer: Any, make: Callable[..., SchedulerDriver], recorder: Any, status: int, eventually: Callable[..., Any]
) -> None:
    peer.subscribes.append(lambda answer: answer.whole(status, b"no such principal"))
    driver = make()
    driver.start()
    driver.join()
    ((name, message),) = recorder.told
    assert name == "error" and f"HTTP {status}: no such principal" in message and "principal, its secret" in message


def test_an_error_event_is_final(
    driver: SchedulerDriver, peer: Any, recorder: Any, eventually: Callable[..., Any]
) -> None:
    peer.streams[0].event({"type": "ERROR", "error": {"message": "Framework has been removed"}})
    driver.join()
    assert recorder.told[-1] == ("error", "Framework has been removed")
    with pytest.raises(Disconnected):
        driver.reviveOffers()


def test_stop_leaves_the_framework_and_no_calls_get_through(driver: SchedulerDriver, peer: Any) -> None:
    driver.stop()
    assert peer.sent("TEARDOWN") == []
    assert not driver.subscribed
    with pytest.raises(Disconnected):
        driver.reviveOffers()


def test_stop_without_failover_tears_down(driver: SchedulerDriver, peer: Any) -> None:
    driver.stop(failover=False)
    assert len(peer.sent("TEARDOWN")) == 1


def test_the_answer_to_a_teardown_may_come_after_the_end_of_the_stream(
    driver: SchedulerDriver, peer: Any, eventually: Callable[..., Any]
) -> None:
    """As Mesos does it: it ends the stream while it removes the framework, and then answers."""

    def remove(answer: Any) -> None:
        peer.subscribes.extend([lambda each: each.whole(503)] * 100)
        peer.streams[0].end()
        eventually(lambda: peer.streams[0].left)
        time.sleep(0.05)  # The driver is told of the end meanwhile.
        answer.whole(202)

    peer.calls.append(remove)
    driver.stop(failover=False)
    assert len(peer.sent("TEARDOWN")) == 1


def test_stop_ends_the_driver_also_when_it_cannot_tear_down(make: Callable[..., SchedulerDriver]) -> None:
    driver = make(master="127.0.0.1:1")
    driver.start()
    with pytest.raises(Disconnected):
        driver.stop(failover=False)
    driver.join()


def test_stopping_while_it_subscribes_leaves_nobody_subscribed(
    peer: Any, make: Callable[..., SchedulerDriver], recorder: Any, events: Any, eventually: Callable[..., Any]
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def late(answer: Any) -> None:
        asked.set()
        go_on.wait(5)
        answer.begin_stream()
        answer.event(events["SUBSCRIBED"])

    peer.subscribes.append(late)
    driver = make()
    driver.start()
    assert asked.wait(5)
    driver._subscription.stop(timeout_s=0.01)
    go_on.set()
    driver.join()
    assert not driver.subscribed and recorder.told == []


def test_bytes_in_json() -> None:
    assert decode_data(encode_data(bytes(range(256)))) == bytes(range(256))
    with pytest.raises(ValueError, match=r"base64|[Pp]adding"):
        decode_data("no base64!")
