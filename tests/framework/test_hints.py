"""Noisy neighbours: how long a hint holds, and how one reaches whoever listens."""

from __future__ import annotations

from serenity.framework.cluster.hints import HOLDS_S, HintBoard
from serenity.wire.messages.api import EventType
from serenity.wire.messages.corrections import Correction
from tests.framework.life import Life


def told(suspect="other.1", cause="cpu", protected="web"):
    outcome = f"{suspect} is suspected first, and no executor here can correct it"
    return Correction(at=0.0, action="hint", task=suspect, outcome=outcome, protected=protected, cause=cause)


def test_a_hint_that_is_told_again_goes_on_and_is_one():
    board = HintBoard()
    board.note(told(), "S0", "h0", now_s=100.0)
    again = board.note(told(), "S0", None, now_s=200.0)
    assert (again.since, again.last_at, again.hostname) == (100.0, 200.0, "h0")
    assert board.current(now_s=200.0 + HOLDS_S - 1) == (again,)
    assert board.current(now_s=200.0 + HOLDS_S) == ()


def test_one_that_was_forgotten_is_a_new_one():
    board = HintBoard()
    board.note(told(), "S0", "h0", now_s=100.0)
    assert board.note(told(), "S0", "h0", now_s=100.0 + HOLDS_S).since == 100.0 + HOLDS_S


def test_agents_kinds_and_suspects_are_told_apart_the_newest_first():
    board = HintBoard()
    board.note(told(), "S0", "h0", now_s=1.0)
    board.note(told(), "S1", "h1", now_s=2.0)
    board.note(told(cause="io"), "S0", "h0", now_s=3.0)
    board.note(told(suspect="other.2"), "S0", "h0", now_s=4.0)
    assert [each.since for each in board.current(now_s=5.0)] == [4.0, 3.0, 2.0, 1.0]


def test_a_hint_of_an_executor_is_an_event_and_is_asked_for(tmp_path):
    life = Life(tmp_path)
    life.subscribe()
    life.offer(agent="S7")
    life.core.message("S7", "executor", told().encode())
    done = life.round()
    (event,) = [each for each in done.changes.events if each.type is EventType.HINT]
    (hint,) = life.core.heard.hints.current(life.clock.now_s())
    assert (hint.agent, hint.hostname, hint.kind, hint.protected) == ("S7", "host-S7", "cpu", "web")
    assert (event.hostname, event.body["suspect"]) == ("host-S7", "other.1") and "suspected first" in event.text
