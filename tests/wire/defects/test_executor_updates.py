"""An executor's updates: none lost, none doubled, in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.wire.defects.driven import Program, Raised, fails_on_plain


def status(task_id: str, state: str = "TASK_RUNNING") -> dict[str, Any]:
    return {"task_id": {"value": task_id}, "state": state}


def ids(updates: list[Any]) -> list[str]:
    return [each["status"]["task_id"]["value"] for each in updates]


def carried(agent: Any, subscription: int) -> list[str]:
    """The tasks of the updates that came with one SUBSCRIBE."""
    return ids(agent.sent("SUBSCRIBE")[subscription]["subscribe"]["unacknowledged_updates"])


def sent(agent: Any) -> list[str]:
    """The tasks of the updates that came by themselves."""
    return ids([each["update"] for each in agent.sent("UPDATE")])


def acknowledge(agent: Any, update: int) -> None:
    status = agent.sent("UPDATE")[update]["update"]["status"]
    acknowledged = {"task_id": status["task_id"], "uuid": status["uuid"]}
    agent.streams[-1].event({"type": "ACKNOWLEDGED", "acknowledged": acknowledged})


@pytest.fixture
def registered(agent: Any, start: Callable[[], Program]) -> Program:
    program = start()
    program.executor()
    program.set_up("registered")
    return program


def resubscribed(program: Program, agent: Any, times: int = 1) -> None:
    agent.streams[-1].cut()
    program.eventually(lambda: program.names().count("reregistered") == times)


@fails_on_plain("updates that are not acknowledged are recorded nowhere, and lost with the agent")
def test_what_is_not_acknowledged_travels_with_the_next_subscription(registered: Program, agent: Any) -> None:
    for task_id in ("t1", "t2", "t3"):
        registered.call("sendStatusUpdate", status(task_id))
    acknowledge(agent, 1)
    agent.streams[0].event({"type": "MESSAGE", "message": {"data": ""}})
    registered.eventually(lambda: "frameworkMessage" in registered.names())
    resubscribed(registered, agent)
    assert carried(agent, 1) == ["t1", "t3"]
    assert sent(agent) == ["t1", "t2", "t3"]  # And not once more beside it.
    first = agent.sent("UPDATE")[0]["update"]
    assert agent.sent("SUBSCRIBE")[1]["subscribe"]["unacknowledged_updates"][0] == first  # With its uuid.


@fails_on_plain("an update that is made while disconnected raises, and is lost", Raised)
def test_an_update_that_is_made_while_disconnected_is_not_lost(registered: Program, agent: Any) -> None:
    registered.call("sendStatusUpdate", status("t1"))
    asked, go_on = threading.Event(), threading.Event()
    agent.subscribes.append(lambda answer: (asked.set(), go_on.wait(60), answer.whole(503)))
    agent.streams[0].cut()
    assert asked.wait(20)
    for task_id in ("t2", "t3"):
        registered.call("sendStatusUpdate", status(task_id))
    go_on.set()
    registered.eventually(lambda: "reregistered" in registered.names())
    assert carried(agent, 2) == ["t1", "t2", "t3"]
    assert sent(agent) == ["t1"]
    resubscribed(registered, agent, times=2)
    assert carried(agent, 3) == ["t1", "t2", "t3"]


@fails_on_plain("an update that the agent does not take raises, and is lost", Raised)
@pytest.mark.parametrize("answer", [503, 403, 404, "cut"])
def test_an_update_that_fails_is_kept_and_none_overtakes_it(registered: Program, agent: Any, answer: int | str) -> None:
    agent.calls.append(lambda each: each.cut() if answer == "cut" else each.whole(answer))
    for task_id in ("t1", "t2"):
        registered.call("sendStatusUpdate", status(task_id))
    assert registered.eventually(lambda: carried(agent, -1) + sent(agent)[1:] == ["t1", "t2"])


@fails_on_plain("an update's uuid is written into the caller's dict: sent again with another state it has the same one")
def test_a_status_that_is_used_twice_makes_two_updates(registered: Program, agent: Any) -> None:
    registered.call("sendStatusUpdate", status("t1"), times=2)
    first, second = (each["update"]["status"]["uuid"] for each in agent.sent("UPDATE"))
    assert first != second


@fails_on_plain("a kept-alive connection that the agent has closed meanwhile fails the next update", Raised)
def test_a_connection_that_has_gone_stale_is_opened_anew(registered: Program, agent: Any) -> None:
    cut = threading.Event()
    agent.calls.append(lambda answer: (answer.whole(202), answer.cut(), cut.set()))
    registered.call("sendStatusUpdate", status("t1"))
    assert cut.wait(20)
    registered.call("sendStatusUpdate", status("t2"))
    assert sent(agent) == ["t1", "t2"]
    assert len(agent.streams) == 1
