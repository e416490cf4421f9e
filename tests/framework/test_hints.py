"""Noisy neighbours: how long a hint holds, and how one reaches whoever listens."""

from __future__ import annotations

import msgspec

from serenity.framework.cluster.hints import HOLDS_S, HintBoard
from serenity.framework.mesos.calls import Accept
from serenity.wire.messages.api import EventType
from serenity.wire.messages.corrections import Correction
from tests.framework.life import Life


def told(suspect="other.1", cause="cpu", protected="web", severity=0.5):
    outcome = f"{suspect} is suspected first, and no executor here can correct it"
    return Correction(
        at=0.0, action="hint", task=suspect, outcome=outcome, protected=protected, cause=cause, severity=severity
    )


def placed_on(life):
    return [task["agent_id"]["value"] for call in life.of_kind(Accept) for task in call.tasks]


def test_a_hint_that_is_told_again_goes_on_and_is_one():
    board = HintBoard()
    board.note(told(severity=0.9), "S0", "h0", now_s=100.0)
    again = board.note(told(severity=0.2), "S0", None, now_s=200.0)
    assert (again.since, again.last_at, again.hostname, again.severity) == (100.0, 200.0, "h0", 0.2)
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


def test_one_that_goes_on_is_an_event_once(tmp_path):
    life = Life(tmp_path)
    life.subscribe()
    for _ in range(3):
        life.core.message("S7", "executor", told().encode())
        life.clock.advance(60.0)
    events = life.round().changes.events
    assert [each.type for each in events] == [EventType.HINT] and events[0].body["severity"] == 0.5


def test_nothing_new_goes_where_somebody_suffers_from_whom_nobody_corrects(tmp_path):
    life = Life(tmp_path)
    life.subscribe()
    life.core.message("S0", "executor", told().encode())
    job = life.submit()
    life.offer("S0")
    life.round()
    assert placed_on(life) == []
    (line,) = [each for each in life.core.why(job) if "suffers" in each]
    assert line == "S0 gets nothing new for now: web suffers there (cpu) from other.1, whom nobody corrects"
    life.offer("S0")
    life.offer("S1")
    life.round()
    assert placed_on(life) == ["S1"]

    late = life.submit()
    life.clock.advance(HOLDS_S)
    assert not any("suffers" in each for each in life.core.why(late))
    life.offer("S0")
    life.round()
    assert placed_on(life) == ["S0"]


def test_what_another_framework_tells_counts_until_it_does_not_tell_it_any_more(tmp_path):
    life = Life(tmp_path)
    life.subscribe()
    hint = HintBoard().note(told(suspect="a\x1b[2Jb"), "S0", "h0", now_s=5.0)  # Its clock is another.
    life.core.heard.hints.heard_from("unix:/other", [hint], life.clock.now_s())
    job = life.submit()
    life.offer("S0")
    life.round()
    assert placed_on(life) == []
    (line,) = [each for each in life.core.why(job) if "suffers" in each]
    assert line.endswith("from a [2Jb, whom nobody corrects, as unix:/other says") and line.startswith("h0 gets")
    assert life.core.heard.hints.current(life.clock.now_s()) == (), "it is that framework's to publish"
    life.core.heard.hints.heard_from("unix:/other", [], life.clock.now_s())
    life.offer("S0")
    life.round()
    assert placed_on(life) == ["S0"]


def test_who_does_not_answer_any_more_is_believed_for_as_long_as_a_hint_holds():
    board = HintBoard()
    mild = HintBoard().note(told(severity=0.1), "S0", "h0", now_s=0.0)
    board.note(told(severity=None), "S0", "h0", now_s=0.0)
    board.heard_from("other", [mild, msgspec.structs.replace(mild, severity=0.8)], now_s=0.0)
    (worst,) = board.spared(HOLDS_S - 1).values()
    assert (worst.hint.severity, worst.told_by) == (0.8, "other")
    assert board.spared(HOLDS_S) == {}
