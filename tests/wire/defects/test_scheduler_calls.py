"""The scheduler's calls, and its end."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.wire.defects.driven import NotSeen, Program, Raised, fails_on_plain


@pytest.fixture
def registered(master: Any, start: Callable[[], Program]) -> Program:
    program = start()
    program.scheduler(master.address)
    program.set_up("registered")
    return program


@fails_on_plain("stop() and abort() tear the framework down, which kills every task")
@pytest.mark.parametrize("way", ["stop", "abort"])
def test_stopping_leaves_the_framework_to_its_failover_timeout(registered: Program, master: Any, way: str) -> None:
    registered.call(way)
    registered.call("join")
    assert master.sent("TEARDOWN") == []
    registered.eventually(lambda: master.streams[0].left)


CALLS: list[tuple[str, list[Any]]] = [
    ("reviveOffers", []),
    ("suppressOffers", []),
    ("acceptOffers", [[{"value": "O1"}], [{"type": "LAUNCH"}]]),
    ("declineOffer", [[{"value": "O1"}]]),
    ("killTask", [{"value": "t"}]),
    ("reconcileTasks", [[]]),
    ("acknowledgeStatusUpdate", [{"uuid": "u", "agent_id": {"value": "a"}, "task_id": {"value": "t"}}]),
    ("sendFrameworkMessage", [{"value": "e"}, {"value": "a"}, "aGk="]),
]


@fails_on_plain("calls while disconnected do nothing, and return as if they had")
def test_calls_before_the_first_subscription_raise(master: Any, start: Callable[[], Program]) -> None:
    asked, never = threading.Event(), threading.Event()
    master.subscribes.append(lambda answer: (asked.set(), never.wait(30)))
    program = start()
    program.scheduler(master.address)
    assert asked.wait(20)
    assert {program.refusal(method, *arguments) for method, arguments in CALLS} == {"Disconnected"}
    never.set()


@fails_on_plain("calls while disconnected do nothing, and return as if they had")
def test_calls_after_a_lost_subscription_raise(registered: Program, master: Any) -> None:
    asked, never = threading.Event(), threading.Event()
    master.subscribes.append(lambda answer: (asked.set(), never.wait(30)))
    master.streams[0].cut()
    assert asked.wait(20)
    assert {registered.refusal(method, *arguments) for method, arguments in CALLS} == {"Disconnected"}
    never.set()


@fails_on_plain("reconcileTasks drops the agent ids")
def test_reconciliation_keeps_agent_ids(registered: Program, master: Any) -> None:
    known = {"task_id": {"value": "t1"}, "agent_id": {"value": "a1"}}
    registered.call("reconcileTasks", [{**known, "state": "TASK_RUNNING"}, {"task_id": {"value": "t2"}}])
    (call,) = master.sent("RECONCILE")
    assert call["reconcile"]["tasks"] == [known, {"task_id": {"value": "t2"}}]


@fails_on_plain("killTask takes neither agent id nor kill policy", Raised)
def test_a_kill_carries_its_grace_period(registered: Program, master: Any) -> None:
    policy = {"grace_period": {"nanoseconds": 5_000_000_000}}
    registered.call("killTask", {"value": "t"}, {"value": "a"}, policy)
    (call,) = master.sent("KILL")
    assert call["kill"] == {"task_id": {"value": "t"}, "agent_id": {"value": "a"}, "kill_policy": policy}


@fails_on_plain("a mutable default `headers` hands one driver's credentials to all others of the process")
def test_a_secret_goes_to_its_own_master_only(registered: Program, peer: Any, master: Any) -> None:
    other = type(peer)(greeting=master.greeting, pages=master.pages)
    other.start()
    with contextlib.closing(other):
        known = registered.scheduler(other.address, principal="serenity", secret="geheim")
        registered.eventually(lambda: registered.names().count("registered") == 2)
        registered.call("reviveOffers", driver=known)
        registered.call("reviveOffers", driver=0)
        assert ["authorization" in each.headers for each in other.requests if each.type] == [True, True]
        assert ["authorization" in each.headers for each in master.requests if each.type] == [False, False]


@fails_on_plain("a kept-alive connection that the master has closed meanwhile fails the next call", Raised)
def test_a_connection_that_has_gone_stale_is_opened_anew(registered: Program, master: Any) -> None:
    cut = threading.Event()
    master.calls.append(lambda answer: (answer.whole(202), answer.cut(), cut.set()))
    registered.call("reviveOffers")
    assert cut.wait(20)
    registered.call("reviveOffers")
    assert len(master.sent("REVIVE")) == 2


@fails_on_plain("a call is given a day for its answer", NotSeen)
def test_a_call_that_is_not_answered_has_an_end(master: Any, start: Callable[[], Program]) -> None:
    go_on = threading.Event()
    master.calls.append(lambda answer: go_on.wait(60))
    program = start()
    program.scheduler(master.address, answer_within_s=0.1)
    program.set_up("registered")
    try:
        assert program.eventually(program.begin("reviveOffers"), "the end of the call")
    finally:
        go_on.set()


@pytest.fixture
def hanging(registered: Program, master: Any) -> Iterator[None]:
    """The master leaves a call unanswered, for longer than any patience."""
    asked, go_on = threading.Event(), threading.Event()
    master.calls.append(lambda answer: (asked.set(), go_on.wait(60)))
    registered.begin("reviveOffers")
    assert asked.wait(20)
    yield
    go_on.set()


@fails_on_plain("stop() waits for a call that hangs", NotSeen)
@pytest.mark.usefixtures("hanging")
def test_stopping_does_not_wait_for_a_call_that_hangs(registered: Program) -> None:
    assert registered.eventually(registered.begin("stop"), "the end of stop()")


# On ours alone: on plain it takes chance who comes first, the call's thread or the one that reads.
@pytest.mark.parametrize("kind", ["serenity"])
@pytest.mark.usefixtures("hanging")
def test_a_call_that_hangs_does_not_hold_up_the_next_subscription(registered: Program, master: Any) -> None:
    master.streams[0].cut()
    assert registered.eventually(lambda: "reregistered" in registered.names())
