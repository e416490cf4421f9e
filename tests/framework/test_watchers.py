"""Streams of events: nothing missed, nothing twice, and all of them together at a bounded cost."""

from __future__ import annotations

import itertools
import threading

import msgspec
import pytest

from serenity.daemon.clock import SystemClock
from serenity.framework import metrics
from serenity.framework.watchers import Turns, Watchers
from serenity.wire.messages import api
from serenity.wire.messages.api import EventType
from tests.manual_clock import ManualClock

CLOCK = SystemClock()  # Its streams wait in earnest.


def event(number, job=None, kind=EventType.JOB):
    return api.Event(id=number, at=1.0, type=kind, job=job, text=f"event {number}")


def ids(chunk):
    return [msgspec.json.decode(line[6:], type=api.Event).id for line in chunk.splitlines() if line[:6] == b"data: "]


class Told:
    """Watchers, and the store that they read."""

    def __init__(self, last_event_id=0):
        self.stored, self.reads = [], 0
        self.watchers = Watchers(self._read, last_event_id, metrics.table(), CLOCK)

    def _read(self, after, limit, job):
        self.reads += 1
        return [each for each in self.stored if each.id > after and job in (None, each.job)][:limit]

    def tell(self, *events, at_hand=True):
        self.stored += events
        self.watchers.tell(events[-1].id, events if at_hand else ())


def test_a_watcher_gets_what_is_stored_and_then_what_comes():
    stored = [event(1), event(2)]
    watchers = Watchers(
        lambda after, limit, job: [e for e in stored if e.id > after][:limit],
        last_event_id=2,
        metrics=metrics.table(),
        clock=CLOCK,
    )
    stream = watchers.stream(after=1)
    assert next(stream) == b"id: 1\n\n"
    assert b"event 2" in next(stream)

    def later():
        stored.append(event(3))
        watchers.tell(3)

    threading.Timer(0.05, later).start()
    assert b"event 3" in next(stream)
    watchers.close()
    assert list(stream) == []


def test_what_comes_while_a_watcher_reads_does_not_wait_for_the_next_event(monkeypatch):
    monkeypatch.setattr("serenity.framework.watchers.KEEP_ALIVE_S", 0.2)
    stored = []

    def read(after, limit, job):
        found = [each for each in stored if each.id > after]
        if not stored:  # Committed just after the store was asked.
            stored.append(event(2))
            watchers.tell(2)
        return found

    watchers = Watchers(read, last_event_id=1, metrics=metrics.table(), clock=CLOCK)
    stream = watchers.stream(after=0)
    next(stream)
    assert b"event 2" in next(stream)


def test_a_watcher_of_one_job_waits_while_others_have_news(monkeypatch):
    monkeypatch.setattr("serenity.framework.watchers.KEEP_ALIVE_S", 0.05)
    reads = []
    watchers = Watchers(lambda *asked: reads.append(asked) or [], last_event_id=5, metrics=metrics.table(), clock=CLOCK)
    stream = watchers.stream(after=2, job_id="j1")
    assert next(stream) == b"id: 2\n\n"
    assert [next(stream) for _ in range(3)] == [b": alive\n\n"] * 3
    assert reads == [(2, 500, "j1")], "nothing has happened since"


def test_a_watcher_without_a_last_id_starts_now():
    watchers = Watchers(lambda after, limit, job: [], last_event_id=7, metrics=metrics.table(), clock=CLOCK)
    assert next(watchers.stream(after=None)) == b"id: 7\n\n"


def test_what_is_new_comes_from_memory_for_all_and_what_is_old_from_the_store():
    told = Told()
    told.tell(event(1), event(2))
    streams = [told.watchers.stream(after=None) for _ in range(3)]
    late = told.watchers.stream(after=0)
    for each in (*streams, late):
        next(each)
    told.tell(event(3), event(4))
    assert [ids(next(each)) for each in streams] == [[3, 4]] * 3 and told.reads == 0
    assert ids(next(late)) == [1, 2, 3, 4] and told.reads == 1
    told.tell(event(5))
    assert [ids(next(each)) for each in (*streams, late)] == [[5]] * 4 and told.reads == 1


def test_a_stream_of_one_job_or_of_one_kind_has_no_others():
    told = Told()
    of_job, hints = told.watchers.stream(None, job_id="a"), told.watchers.stream(None, kind=EventType.HINT)
    next(of_job), next(hints)
    told.tell(event(1, "b"), event(2, "a"), event(3, "b", EventType.HINT), event(4, "b"))
    assert ids(next(of_job)) == [2] and ids(next(hints)) == [3]
    told.tell(event(5, "a", EventType.HINT))
    assert ids(next(of_job)) == [5] and ids(next(hints)) == [5]


def test_news_without_the_events_themselves_are_read():
    """As an instance that stands by hears of them."""
    told = Told()
    stream = told.watchers.stream(None)
    next(stream)
    told.tell(event(1), at_hand=True)
    assert ids(next(stream)) == [1]
    told.tell(event(2), at_hand=False)
    assert ids(next(stream)) == [2]
    told.tell(event(3), at_hand=True)
    assert ids(next(stream)) == [3] and told.reads == 1


def test_nothing_is_missed_when_more_comes_than_is_sent_at_once_or_kept(monkeypatch):
    monkeypatch.setattr("serenity.framework.watchers._EVENTS_A_TURN", 3)
    monkeypatch.setattr("serenity.framework.watchers._EVENTS_A_READ", 2)
    monkeypatch.setattr("serenity.framework.watchers._KEPT_EVENTS", 5)
    told = Told()
    stream, seen = told.watchers.stream(None), []
    next(stream)
    for first in range(1, 40, 4):
        told.tell(*(event(first + i) for i in range(4)))
        if first % 3 == 0:
            seen += ids(next(stream))
    while len(seen) < 40:
        seen += ids(next(stream))
    assert seen == list(range(1, 41)) and told.reads > 0


def test_nobody_misses_anything_who_has_fallen_behind_and_each_part_is_read_once(monkeypatch):
    monkeypatch.setattr("serenity.framework.watchers._EVENTS_A_READ", 4)
    monkeypatch.setattr("serenity.framework.watchers._EVENTS_A_TURN", 4)
    monkeypatch.setattr("serenity.framework.watchers._KEPT_EVENTS", 2)
    told = Told()
    streams = [told.watchers.stream(None) for _ in range(5)]
    for each in streams:
        next(each)
    for number in range(1, 42):
        told.tell(event(number))
    seen = [[] for _ in streams]
    while any(len(each) < 41 for each in seen):
        for each, stream in zip(seen, streams, strict=True):
            if len(each) < 41:
                each += ids(next(stream))
    assert seen == [list(range(1, 42))] * 5
    assert told.reads <= 10


def test_one_is_read_again_when_its_page_was_forgotten(monkeypatch):
    monkeypatch.setattr("serenity.framework.watchers._EVENTS_A_READ", 2)
    monkeypatch.setattr("serenity.framework.watchers._KEPT_PAGES", 1)
    told = Told()
    told.tell(*map(event, range(1, 7)))
    for _ in range(2):
        stream = told.watchers.stream(after=0)
        next(stream)
        assert ids(next(stream)) + ids(next(stream)) + ids(next(stream)) == [1, 2, 3, 4, 5, 6]
        stream.close()
    assert told.reads == 6


def test_turns_take_their_share_and_no_more_however_many_wait():
    clock, spent_s = ManualClock(), 0.0
    turns = Turns(clock, share=0.1)
    line = [turns.enter() for _ in range(50)]
    while clock.monotonic_s() < 100.0:
        first = line.pop(0)
        assert first.turn.is_set() and not line[0].turn.is_set(), "one after the other"
        clock.advance(turns.wait_s())
        turns.leave(first, 0.02)
        spent_s += 0.02
        line.append(turns.enter())
    assert spent_s == pytest.approx(10.0, rel=0.05)


def test_who_goes_away_while_others_wait_leaves_the_line():
    turns = Turns(ManualClock())
    first, second, third = turns.enter(), turns.enter(), turns.enter()
    turns.leave(second, 0.0)
    assert not third.turn.is_set()
    turns.leave(first, 0.0)
    assert third.turn.is_set()


def test_who_steps_aside_keeps_its_place_and_holds_up_nobody():
    turns = Turns(ManualClock())
    first, second, third = turns.enter(), turns.enter(), turns.enter()
    assert not turns.step_aside(first), "it is its turn"
    assert turns.step_aside(second)
    turns.leave(first, 0.0)
    assert third.turn.is_set() and not second.turn.is_set()
    turns.back(second)
    late = turns.enter()
    turns.leave(third, 0.0)
    assert second.turn.is_set() and not late.turn.is_set()


def test_all_that_were_there_may_have_stepped_aside():
    turns = Turns(ManualClock())
    first, second = turns.enter(), turns.enter()
    assert turns.step_aside(second)
    turns.leave(first, 0.0)
    assert not second.turn.is_set()
    turns.back(second)
    assert second.turn.is_set()


def test_what_was_forgotten_is_passed_over_at_once():
    told = Told(last_event_id=1_000_000)
    told.stored = [event(990_100), event(990_101, kind=EventType.HINT)]
    stream = told.watchers.stream(after=0)
    assert next(stream) == b"id: 0\n\n" and next(stream) == b"id: 990099\n\n"
    assert ids(next(stream)) == [990_100, 990_101] and told.reads == 2


def test_who_waits_for_what_is_rare_hears_how_far_it_is():
    told = Told()
    told.tell(*map(event, range(1, 1001)), event(1001, kind=EventType.HINT))
    stream = told.watchers.stream(after=0, kind=EventType.HINT)
    said = list(itertools.islice(stream, 4))
    assert said[:3] == [b"id: 0\n\n", b"id: 500\n\n", b"id: 1000\n\n"] and ids(said[3]) == [1001]


def test_a_watcher_who_is_alone_does_not_wait():
    clock = ManualClock()
    turns = Turns(clock, share=0.1)
    for _ in range(10):
        clock.advance(1.0)
        place = turns.enter()
        assert place.turn.is_set() and turns.wait_s() == 0.0
        turns.leave(place, 0.001)


def test_a_client_hears_that_we_live_while_it_stands_in_line(monkeypatch):
    monkeypatch.setattr("serenity.framework.watchers.KEEP_ALIVE_S", 0.02)
    reading, go_on = threading.Event(), threading.Event()

    def read(after, limit, job):
        reading.set()
        assert go_on.wait(10.0)
        return [event(1)]

    watchers = Watchers(read, last_event_id=1, metrics=metrics.table(), clock=CLOCK)
    slow, waiting = watchers.stream(after=0), watchers.stream(after=0)
    next(slow), next(waiting)
    thread = threading.Thread(target=next, args=(slow,))
    thread.start()
    assert reading.wait(10.0)
    assert next(waiting) == b": alive\n\n"
    go_on.set()
    thread.join(10.0)
    assert ids(next(each for each in waiting if b"data" in each)) == [1]
