"""What plain pymesos does as well as ours: the parts that Serenity takes from it, and proof that it runs here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.wire.defects.driven import FRAMEWORK, Program, holds_on_plain


@holds_on_plain
def test_a_scheduler_is_told_of_its_events_and_makes_its_calls(
    master: Any, start: Callable[[], Program], shape: Callable[[str], Any]
) -> None:
    program = start()
    program.scheduler(master.address)
    program.set_up("registered")
    for event in shape("scheduler_events.json")[1:]:
        master.streams[0].event(event)
    program.eventually(lambda: set(program.names()) >= {"resourceOffers", "statusUpdate", "executorLost"})
    ids = program.arguments("registered")[0]
    program.call("acceptOffers", [{"value": "O1"}], [{"type": "LAUNCH", "launch": {"task_infos": []}}])
    program.call("declineOffer", [{"value": "O2"}])
    program.call("killTask", {"value": "t"})
    program.call("reviveOffers")
    for kind in ("ACCEPT", "DECLINE", "KILL", "REVIVE"):
        (call,) = (each for each in master.requests if each.type == kind)
        assert call.json["framework_id"] == ids and call.headers["mesos-stream-id"] == "stream-0"


@holds_on_plain
@pytest.mark.parametrize("ending", ["cut", "end"])
def test_a_scheduler_registers_again_under_its_id(master: Any, start: Callable[[], Program], ending: str) -> None:
    program = start()
    program.scheduler(master.address)
    program.set_up("registered")
    getattr(master.streams[0], ending)()
    program.eventually(lambda: "reregistered" in program.names())
    assert program.names() == ["registered", "disconnected", "reregistered"]
    assert master.sent("SUBSCRIBE")[1]["framework_id"] == program.arguments("registered")[0]


@holds_on_plain
def test_events_are_put_together_however_they_are_cut(
    master: Any, start: Callable[[], Program], shape: Callable[[str], Any]
) -> None:
    program = start()
    program.scheduler(master.address)
    program.set_up("registered")
    record = b'20\n{"type":"HEARTBEAT"}'
    for at in range(len(record)):
        master.streams[0].chunk(record[at : at + 1])
    master.streams[0].chunk(record * 30)
    assert program.eventually(lambda: program.names().count("processHeartBeat") == 31)


@holds_on_plain
def test_it_follows_the_redirect_to_the_leading_master(peer: Any, master: Any, start: Callable[[], Program]) -> None:
    leader = type(peer)(greeting=master.greeting, pages=master.pages)
    leader.start()
    with contextlib.closing(leader):
        location = f"//{leader.address}/api/v1/scheduler"
        master.subscribes.append(lambda answer: answer.whole(307, Location=location))
        program = start()
        program.scheduler(master.address)
        program.set_up("registered")
        ((_, _, info),) = (each for each in program.told if each[0] == "registered")
        assert info["port"] == leader.port
        program.call("reviveOffers")
        assert len(leader.sent("REVIVE")) == 1


@holds_on_plain
@pytest.mark.parametrize("version", ["1.12.0", "1.12", "", None])
def test_these_versions_do_no_harm(master: Any, start: Callable[[], Program], version: str | None) -> None:
    master.pages["/version"] = {} if version is None else {"version": version}
    program = start()
    program.scheduler(master.address)
    program.set_up("registered")
    assert program.names() == ["registered"]


@holds_on_plain
def test_a_call_whose_answer_is_lost_is_not_made_twice(master: Any, start: Callable[[], Program]) -> None:
    program = start()
    program.scheduler(master.address)
    program.set_up("registered")
    master.calls.append(lambda answer: answer.cut())
    with pytest.raises(AssertionError):
        program.call("acceptOffers", [{"value": "O1"}], [{"type": "LAUNCH"}])
    assert len(master.sent("ACCEPT")) == 1


@holds_on_plain
def test_an_executor_is_told_of_its_events_and_sends_updates(
    agent: Any, start: Callable[[], Program], shape: Callable[[str], Any]
) -> None:
    program = start()
    program.executor()
    program.set_up("registered")
    for event in shape("executor.json")["events"]:
        if event["type"] in ("LAUNCH", "MESSAGE", "KILL"):
            agent.streams[0].event(event)
    program.eventually(lambda: {"launchTask", "frameworkMessage", "killTask"} <= set(program.names()))
    program.call("sendStatusUpdate", {"task_id": {"value": "t1"}, "state": "TASK_RUNNING"})
    (update,) = agent.sent("UPDATE")
    assert update["update"]["status"]["source"] == "SOURCE_EXECUTOR"


@holds_on_plain
def test_an_executor_registers_again(agent: Any, start: Callable[[], Program]) -> None:
    program = start()
    program.executor()
    program.set_up("registered")
    agent.streams[0].cut()
    assert program.eventually(lambda: "reregistered" in program.names())


@holds_on_plain
def test_the_framework_is_sent_with_its_name_and_roles(master: Any, start: Callable[[], Program]) -> None:
    program = start()
    program.scheduler(master.address)
    program.set_up("registered")
    (subscribe,) = master.sent("SUBSCRIBE")
    assert subscribe["subscribe"]["framework_info"].items() >= FRAMEWORK.items()
