from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from serenity.wire.mesos import executor
from serenity.wire.mesos.executor import ExecutorDriver, NotUnderMesos


@pytest.fixture
def events(shape: Callable[[str], Any]) -> dict[str, Any]:
    return {each["type"]: each for each in shape("executor.json")["events"]}


@pytest.fixture
def environ(peer: Any, shape: Callable[[str], Any]) -> dict[str, str]:
    return {**shape("executor.json")["environ"], "MESOS_AGENT_ENDPOINT": peer.address}


@pytest.fixture
def make(peer: Any, recorder: Any, events: Any, environ: dict[str, str]) -> Iterator[Callable[..., ExecutorDriver]]:
    peer.greeting = events["SUBSCRIBED"]
    made: list[ExecutorDriver] = []

    def build(**options: Any) -> ExecutorDriver:
        made.append(ExecutorDriver(recorder, environ, **options))
        return made[-1]

    yield build
    for driver in made:
        driver.stop()


@pytest.fixture
def driver(make: Callable[..., ExecutorDriver], recorder: Any, eventually: Callable[..., Any]) -> ExecutorDriver:
    """One that is registered."""
    started = make()
    started.start()
    eventually(lambda: "registered" in recorder.names())
    return started


def status(task_id: str, state: str = "TASK_RUNNING") -> dict[str, Any]:
    return {"task_id": {"value": task_id}, "state": state}


def acknowledged(task_id: str, update_uuid: str) -> dict[str, Any]:
    return {"type": "ACKNOWLEDGED", "acknowledged": {"task_id": {"value": task_id}, "uuid": update_uuid}}


def launch(events: Any, task_id: str) -> dict[str, Any]:
    task = {**events["LAUNCH"]["launch"]["task"], "task_id": {"value": task_id}}
    return {"type": "LAUNCH", "launch": {"task": task}}


def sent_ids(peer: Any) -> list[str]:
    return [each["update"]["status"]["task_id"]["value"] for each in peer.sent("UPDATE")]


def test_recorded_events_reach_their_callbacks(
    driver: ExecutorDriver, peer: Any, recorder: Any, events: Any, eventually: Callable[..., Any]
) -> None:
    for kind in ("LAUNCH", "MESSAGE", "KILL", "ACKNOWLEDGED", "SHUTDOWN", "SHUTDOWN"):
        peer.streams[0].event(events[kind])
    group = {"task_group": {"tasks": [launch(events, name)["launch"]["task"] for name in ("g1", "g2")]}}
    peer.streams[0].event({"type": "HEARTBEAT"})
    peer.streams[0].event({"type": "LAUNCH_GROUP", "launch_group": group})
    eventually(lambda: recorder.names().count("launchTask") == 3)
    assert recorder.names() == [
        *("registered", "launchTask", "frameworkMessage", "killTask", "acknowledged", "shutdown"),
        *("launchTask", "launchTask"),
    ]
    task = recorder.told[1][1]
    assert base64.b64decode(task["data"]) == b"hello"
    assert driver.grace_shutdown_period == 5.0 and driver.checkpoint


def test_an_update_has_what_mesos_demands(driver: ExecutorDriver, peer: Any) -> None:
    update_uuid = driver.sendStatusUpdate(status("t1"))
    (call,) = peer.sent("UPDATE")
    sent = call["update"]["status"]
    assert sent["uuid"] == update_uuid and len(base64.b64decode(update_uuid)) == 16
    assert sent["source"] == "SOURCE_EXECUTOR" and sent["executor_id"] == call["executor_id"]
    assert sent["timestamp"] > 1e9
    assert driver.unacknowledged == 1


def test_an_acknowledged_update_is_forgotten_and_others_travel_again(
    driver: ExecutorDriver, peer: Any, recorder: Any, events: Any, eventually: Callable[..., Any]
) -> None:
    for task_id in ("t1", "t2"):
        peer.streams[0].event(launch(events, task_id))
    eventually(lambda: recorder.names().count("launchTask") == 2)
    first, second = driver.sendStatusUpdate(status("t1")), driver.sendStatusUpdate(status("t2"))
    peer.streams[0].event(acknowledged("t1", first))
    eventually(lambda: driver.unacknowledged == 1)
    assert recorder.told[-1] == ("acknowledged", "t1", first)
    peer.streams[0].cut()
    eventually(lambda: "reregistered" in recorder.names())
    subscribe = peer.sent("SUBSCRIBE")[1]["subscribe"]
    assert [each["task_id"]["value"] for each in subscribe["unacknowledged_tasks"]] == ["t2"]
    assert [each["status"]["uuid"] for each in subscribe["unacknowledged_updates"]] == [second]
    assert sent_ids(peer) == ["t1", "t2"]  # And not once more beside the SUBSCRIBE.


def test_an_update_made_while_a_subscription_is_under_way_is_sent_after_it(
    driver: ExecutorDriver, peer: Any, recorder: Any, events: Any, eventually: Callable[..., Any]
) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slowly(answer: Any) -> None:
        asked.set()
        assert go_on.wait(5)
        answer.begin_stream()
        answer.event(events["SUBSCRIBED"])

    peer.subscribes.append(slowly)
    peer.streams[0].cut()
    assert asked.wait(5)  # SUBSCRIBE has left, without these two.
    driver.sendStatusUpdate(status("t1"))
    driver.sendStatusUpdate(status("t2"))
    go_on.set()
    eventually(lambda: sent_ids(peer) == ["t1", "t2"])
    assert peer.sent("SUBSCRIBE")[1]["subscribe"]["unacknowledged_updates"] == []


def test_updates_of_many_threads_are_all_sent_once_and_those_of_each_in_order(
    driver: ExecutorDriver, peer: Any
) -> None:
    def send(name: str) -> None:
        for n in range(20):
            driver.sendStatusUpdate(status(f"{name}{n:02}"))

    threads = [threading.Thread(target=send, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    sent = sent_ids(peer)
    for name in "abc":
        assert [each for each in sent if each.startswith(name)] == [f"{name}{n:02}" for n in range(20)]


class Pausing(dict[str, Any]):
    """A task id that keeps whoever looks into it waiting."""

    def __init__(self, value: str) -> None:
        super().__init__(value=value)
        self.asked, self.go_on = threading.Event(), threading.Event()

    def __getitem__(self, key: str) -> Any:
        self.asked.set()
        assert self.go_on.wait(5)
        return super().__getitem__(key)


def test_an_update_about_to_be_sent_does_not_go_beside_the_subscription_that_carries_it(
    driver: ExecutorDriver, peer: Any, recorder: Any, eventually: Callable[..., Any]
) -> None:
    task_id = Pausing("t1")
    sender = threading.Thread(target=driver.sendStatusUpdate, args=({"task_id": task_id, "state": "TASK_RUNNING"},))
    sender.start()
    assert task_id.asked.wait(5)
    peer.streams[0].cut()
    eventually(lambda: "disconnected" in recorder.names())
    time.sleep(0.2)  # Were SUBSCRIBE not held back now, it would be sent.
    task_id.go_on.set()
    sender.join(5)
    eventually(lambda: "reregistered" in recorder.names())
    driver.sendStatusUpdate(status("t2"))
    carried = peer.sent("SUBSCRIBE")[1]["subscribe"]["unacknowledged_updates"]
    assert [each["status"]["task_id"]["value"] for each in carried] + sent_ids(peer) == ["t1", "t2"]


def test_one_malformed_update_does_not_cost_the_subscription(
    driver: ExecutorDriver, peer: Any, recorder: Any, eventually: Callable[..., Any]
) -> None:
    """It was made while disconnected, so that no answer of its own has told us what is wrong with it."""
    asked, go_on = threading.Event(), threading.Event()
    peer.subscribes.append(lambda answer: (asked.set(), go_on.wait(5), answer.whole(503)))
    peer.streams[0].cut()
    assert asked.wait(5)
    for task_id, state in (("t1", "TASK_RUNNING"), ("t2", "TASK_BANANA"), ("t3", "TASK_FINISHED")):
        driver.sendStatusUpdate(status(task_id, state))
    peer.subscribes.append(lambda answer: answer.whole(400, b"Failed to convert JSON into Call protobuf"))
    peer.calls.extend([lambda answer: answer.whole(202), lambda answer: answer.whole(400, b"no such state")])
    go_on.set()
    eventually(lambda: "reregistered" in recorder.names())
    assert sent_ids(peer) == ["t1", "t2", "t3"]
    assert driver.unacknowledged == 2


@pytest.mark.parametrize("data", [b"no text", float("nan")])
def test_an_update_that_is_no_json_is_refused_before_it_could_spoil_a_subscription(
    driver: ExecutorDriver, peer: Any, recorder: Any, data: Any, eventually: Callable[..., Any]
) -> None:
    with pytest.raises((TypeError, ValueError), match="JSON"):
        driver.sendStatusUpdate({**status("t1"), "data": data})
    assert driver.unacknowledged == 0 and sent_ids(peer) == []


def test_a_malformed_update_is_dropped_or_no_subscription_would_be_taken_again(
    driver: ExecutorDriver, peer: Any, recorder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    peer.calls.append(lambda answer: answer.whole(400, b"unknown state"))
    driver.sendStatusUpdate(status("t1", "TASK_BANANA"))
    driver.sendStatusUpdate(status("t2"))
    assert driver.unacknowledged == 1 and sent_ids(peer) == ["t1", "t2"]
    assert recorder.names() == ["registered"]
    assert "does not take an update of t1" in caplog.text and "unknown state" in caplog.text


# -- the agent goes away ---------------------------------------------------------------------


def test_an_agent_that_is_gone_for_longer_than_the_recovery_timeout_is_the_end(
    make: Callable[..., ExecutorDriver], peer: Any, recorder: Any, environ: dict[str, str]
) -> None:
    environ["MESOS_RECOVERY_TIMEOUT"] = "10mins"
    now_s = iter([0.0, 10.0, 599.0, 601.0])
    driver = make(monotonic=lambda: next(now_s))
    peer.subscribes.append(lambda answer: (answer.begin_stream(), answer.event(peer.greeting), answer.cut()))
    peer.subscribes.extend([lambda answer: answer.whole(503)] * 10)
    driver.start()
    driver.join()
    assert recorder.names() == ["registered", "disconnected", "shutdown"]
    assert len(peer.sent("SUBSCRIBE")) == 3


def test_an_agent_that_returns_in_time_sets_the_timeout_back(
    make: Callable[..., ExecutorDriver], peer: Any, recorder: Any, eventually: Callable[..., Any]
) -> None:
    now_s = [0.0]
    gone: list[float] = []

    def disconnected(_: ExecutorDriver) -> None:
        now_s[0] += 800.0  # Of 900 s, each time.
        gone.append(now_s[0])

    recorder.disconnected = disconnected
    driver = make(monotonic=lambda: now_s[0])
    driver.start()
    for registrations in (1, 2, 3):
        eventually(lambda n=registrations: len(recorder.told) == n)
        peer.streams[-1].cut()
    eventually(lambda: len(recorder.told) == 4)
    assert recorder.names() == ["registered", *["reregistered"] * 3] and len(gone) == 3


def test_an_agent_that_no_longer_sends_its_heartbeats_is_left(
    make: Callable[..., ExecutorDriver],
    peer: Any,
    recorder: Any,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., Any],
) -> None:
    """Only of one that has sent any: Mesos sends them since 1.8."""
    monkeypatch.setattr(executor, "HEARTBEAT_S", 0.01)
    make().start()
    eventually(lambda: "registered" in recorder.names())
    time.sleep(0.1)  # Ten times the pause between two.
    assert len(peer.streams) == 1
    peer.streams[0].event({"type": "HEARTBEAT"})
    eventually(lambda: "reregistered" in recorder.names())


def test_stopping_does_not_wait_for_an_update_that_hangs(driver: ExecutorDriver, peer: Any) -> None:
    asked, go_on = threading.Event(), threading.Event()
    peer.calls.append(lambda answer: (asked.set(), go_on.wait(30)))
    sender = threading.Thread(target=driver.sendStatusUpdate, args=(status("t1"),))
    sender.start()
    assert asked.wait(5)
    began_s = time.monotonic()
    driver.stop()
    sender.join(5)
    assert time.monotonic() - began_s < 5.0  # Of 10 s that the agent has for its answer.
    go_on.set()
    assert driver.unacknowledged == 1


def test_after_stop_updates_are_kept_and_nothing_is_sent(driver: ExecutorDriver, peer: Any, recorder: Any) -> None:
    driver.stop()
    driver.sendStatusUpdate(status("t1"))
    assert peer.sent("UPDATE") == [] and driver.unacknowledged == 1 and not driver.subscribed
    assert recorder.names() == ["registered"]


# -- the environment -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"MESOS_AGENT_ENDPOINT": None}, "MESOS_AGENT_ENDPOINT is not set: a Mesos agent starts this program"),
        ({"MESOS_FRAMEWORK_ID": None}, "MESOS_FRAMEWORK_ID is not set"),
        ({"MESOS_AGENT_ENDPOINT": "nowhere"}, "'nowhere' is no address"),
        ({"MESOS_RECOVERY_TIMEOUT": "soon"}, "'soon' is no Mesos duration"),
    ],
)
def test_started_by_hand_it_says_so(
    make: Callable[..., ExecutorDriver], environ: dict[str, str], change: dict[str, str | None], message: str
) -> None:
    for name, value in change.items():
        environ.pop(name)
        if value is not None:
            environ[name] = value
    with pytest.raises(NotUnderMesos, match=message):
        make()
