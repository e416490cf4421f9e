"""The scheduler's stream: what ends it, what must not, and how it comes back."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.wire.defects.driven import FATAL, FRAMEWORK, NotSeen, Program, fails_on_plain

UPDATE = {"task_id": {"value": "t"}, "agent_id": {"value": "a"}, "state": "TASK_RUNNING"}


@fails_on_plain("an exception in a callback sends TEARDOWN, which kills every task")
@pytest.mark.parametrize("callback", ["registered", "statusUpdate"])
def test_a_callback_that_raises_costs_neither_stream_nor_tasks(
    master: Any, start: Callable[[], Program], callback: str
) -> None:
    program = start()
    program.scheduler(master.address, raises_in=[callback])
    program.set_up("registered")
    master.streams[0].event({"type": "UPDATE", "update": {"status": UPDATE}})
    master.streams[0].event({"type": "HEARTBEAT"})
    program.eventually(lambda: "processHeartBeat" in program.names() or master.sent("TEARDOWN"))
    assert master.sent("TEARDOWN") == []
    assert len(master.streams) == 1


@fails_on_plain("a 503, or a stream that ends, brings the next SUBSCRIBE at once")
@pytest.mark.parametrize(
    "answer",
    [lambda answer: answer.whole(503), lambda answer: (answer.begin_stream(), answer.end())],
    ids=["503", "stream ends"],
)
def test_a_master_that_is_not_ready_is_given_pauses_that_grow(
    master: Any, start: Callable[[], Program], answer: Callable[[Any], None]
) -> None:
    master.subscribes.extend([answer] * 3)
    program = start()
    program.scheduler(master.address)
    program.set_up("registered")
    times_s = [each.at_s for each in master.requests if each.type == "SUBSCRIBE"]
    pauses_s = [later - earlier for earlier, later in itertools.pairwise(times_s)]
    # Of 0.1, 0.2 and 0.4 s at least half; how much more is chance (test_subscription.py).
    assert all(pause_s >= least_s for pause_s, least_s in zip(pauses_s, (0.05, 0.1, 0.2), strict=True))


@fails_on_plain("an attempt that fails is told as `disconnected`")
def test_who_never_was_connected_is_not_disconnected(master: Any, start: Callable[[], Program]) -> None:
    master.subscribes.append(lambda answer: answer.whole(503))
    program = start()
    program.scheduler(master.address)
    program.set_up("registered")
    assert program.names() == ["registered"]


@fails_on_plain("a 401 ends the program with a traceback", FATAL)
def test_a_refused_principal_is_said_through_error(master: Any, start: Callable[[], Program]) -> None:
    master.subscribes.append(lambda answer: answer.whole(401, b"no such principal"))
    program = start()
    program.scheduler(master.address)
    program.eventually(lambda: "error" in program.names())
    (message,) = program.arguments("error")
    assert "HTTP 401: no such principal" in message and "Check the principal, its secret" in message
    assert len(master.sent("SUBSCRIBE")) == 1
    program.survives(for_s=0.1)


@fails_on_plain("any answer but 200, 307 and 503 ends the program with a traceback", FATAL)
@pytest.mark.parametrize(
    "answer",
    [
        lambda answer: answer.whole(404),  # A master that has just been started.
        lambda answer: answer.whole(500),
        lambda answer: answer.whole(200),
        lambda answer: (answer.raw(b"not even HTTP\r\n\r\n"), answer.cut()),
    ],
    ids=["404", "500", "200 without a stream", "no HTTP"],
)
def test_a_master_that_talks_nonsense_is_asked_again(
    master: Any, start: Callable[[], Program], answer: Callable[[Any], None]
) -> None:
    master.subscribes.append(answer)
    program = start()
    program.scheduler(master.address)
    program.eventually(lambda: "registered" in program.names())
    assert "error" not in program.names()


@fails_on_plain("a stream that is no RecordIO is read on in silence, for ever", NotSeen)
def test_a_stream_out_of_step_is_opened_anew(master: Any, start: Callable[[], Program]) -> None:
    program = start()
    program.scheduler(master.address)
    program.set_up("registered")
    master.streams[0].chunk(b'no length\n20\n{"type":"HEARTBEAT"}')
    assert program.eventually(lambda: "reregistered" in program.names())


@pytest.fixture
def quick_resolver(environ: dict[str, str]) -> None:
    """A machine whose name server is silent would keep us waiting."""
    environ["RES_OPTIONS"] = "timeout:1 attempts:1"


@fails_on_plain("a failed name look-up ends the program with a traceback", FATAL)
@pytest.mark.usefixtures("quick_resolver")
def test_a_name_that_cannot_be_looked_up_is_tried_again(start: Callable[[], Program]) -> None:
    program = start()
    program.scheduler("no-such-master.invalid:5050")
    program.eventually(lambda: program.log.count("cannot resolve no-such-master.invalid") >= 2)
    assert program.names() == []


@fails_on_plain("after an ERROR event it subscribes again, for ever and without a pause", NotSeen)
def test_an_error_event_is_the_end(master: Any, start: Callable[[], Program]) -> None:
    program = start()
    program.scheduler(master.address)
    program.set_up("registered")
    joined = program.begin("join")
    master.streams[0].event({"type": "ERROR", "error": {"message": "Framework has been removed"}})
    master.streams[0].end()
    program.eventually(joined, "its end")
    assert program.arguments("error") == ["Framework has been removed"]
    assert len(master.sent("SUBSCRIBE")) == 1


@fails_on_plain("no heartbeat watchdog: it waits for a silent master for ever", NotSeen)
def test_five_missed_heartbeats_are_a_lost_stream(master: Any, start: Callable[[], Program]) -> None:
    master.greeting["subscribed"]["heartbeat_interval_seconds"] = 0.05
    program = start()
    program.scheduler(master.address)
    program.set_up("registered")
    program.eventually(lambda: "reregistered" in program.names())
    assert program.names()[:3] == ["registered", "disconnected", "reregistered"]
    first, second = [each.at_s for each in master.requests if each.type == "SUBSCRIBE"][:2]
    assert second - first > 5 * 0.05


@fails_on_plain("no socket timeout: it waits for the answer to SUBSCRIBE for ever", NotSeen)
def test_a_subscribe_that_is_not_answered_is_sent_again(master: Any, start: Callable[[], Program]) -> None:
    go_on = threading.Event()
    master.subscribes.append(lambda answer: go_on.wait(60))
    program = start()
    program.scheduler(master.address, answer_within_s=0.1)
    try:
        assert program.eventually(lambda: "registered" in program.names())
    finally:
        go_on.set()


@fails_on_plain("select(): dead with more than 1024 open files", FATAL)
def test_more_than_1024_open_files_are_no_matter(master: Any, start: Callable[[], Program]) -> None:
    program = start()
    if not program.order("open_files", count=1100):
        pytest.skip("this process may not open 1100 files")
    program.scheduler(master.address)
    program.eventually(lambda: "registered" in program.names())
    program.call("reviveOffers")
    assert len(master.sent("REVIVE")) == 1


@fails_on_plain("GPU_RESOURCES is forced on, and failover_timeout set")
def test_the_framework_is_sent_as_it_is_given(master: Any, start: Callable[[], Program]) -> None:
    framework = {**FRAMEWORK, "capabilities": [{"type": "MULTI_ROLE"}]}
    del framework["failover_timeout"]
    program = start()
    program.scheduler(master.address, framework)
    program.set_up("registered")
    (subscribe,) = master.sent("SUBSCRIBE")
    assert {"type": "GPU_RESOURCES"} not in subscribe["subscribe"]["framework_info"]["capabilities"]
    assert subscribe["subscribe"]["framework_info"] == framework


@fails_on_plain("a version that is not three numbers ends the program with a traceback", FATAL)
@pytest.mark.parametrize("version", ["1.12.0-rc1", "1.12.0-SNAPSHOT", "latest"])
def test_any_version_will_do(
    master: Any, start: Callable[[], Program], shape: Callable[[str], Any], version: str
) -> None:
    master.pages["/version"] = {"version": version}
    master.greeting["subscribed"]["master_info"]["version"] = version
    program = start()
    program.scheduler(master.address)
    program.eventually(lambda: "registered" in program.names())
    master.streams[0].event(next(each for each in shape("scheduler_events.json") if each["type"] == "OFFERS"))
    program.eventually(lambda: "resourceOffers" in program.names())
    ((_, _, info),) = (each for each in program.told if each[0] == "registered")
    assert info["version"] == version


@fails_on_plain("a FAILURE without a status, which Mesos may send, ends the program and tears the framework down")
def test_an_executor_may_end_with_a_status_that_nobody_knows(master: Any, start: Callable[[], Program]) -> None:
    program = start()
    program.scheduler(master.address)
    program.set_up("registered")
    failure = {"agent_id": {"value": "a"}, "executor_id": {"value": "e"}}
    master.streams[0].event({"type": "FAILURE", "failure": failure})
    program.eventually(lambda: "executorLost" in program.names())
    assert program.told[-1] == ("executorLost", {"value": "e"}, {"value": "a"}, None)


@fails_on_plain("after a redirect it never asks the master again that it was given", NotSeen)
def test_when_the_leader_is_gone_it_returns_to_the_master_it_was_given(
    peer: Any, master: Any, start: Callable[[], Program]
) -> None:
    leader = type(peer)(greeting=master.greeting, pages=master.pages)
    leader.start()
    with contextlib.closing(leader):
        location = f"//{leader.address}/api/v1/scheduler"
        master.subscribes.append(lambda answer: answer.whole(307, Location=location))
        program = start()
        program.scheduler(master.address)
        program.set_up("registered")
    program.eventually(lambda: "reregistered" in program.names())
    assert len(master.streams) == 1
