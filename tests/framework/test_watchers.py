"""Streams of events: nothing missed, nothing twice, and all of them together at a bounded cost."""

from __future__ import annotations

import threading

import msgspec
import pytest

from serenity.daemon.clock import ManualClock
from serenity.framework import metrics
from serenity.framework.watchers import Turns, Watchers
from serenity.wire.messages import api
from serenity.wire.messages.api import EventType


def event(number, job=None, kind=EventType.JOB):
    return api.Event(id=number, at=1.0, type=kind, job=job, text=f"event {number}")


def ids(chunk):
    return [msgspec.json.decode(line[6:], type=api.Event).id for line in chunk.splitlines() if line[:6] == b"data: "]


class Told:
    """Watchers, and the store that they read."""

    def __init__(self, last_event_id=0):
        self.stored, self.reads = [], 0
        self.watchers = Watchers(self._read, last_event_id, metrics.table())

    def _read(self, after, limit, job):
        self.reads += 1
        return [each for each in self.stored if each.id > after and job in (None, each.job)][:limit]

    def tell(self, *events, at_hand=True):
        self.stored += events
        self.watchers.tell(events[-1].id, events if at_hand else ())


def test_a_watcher_gets_what_is_stored_and_then_what_comes():
    stored = [event(1), event(2)]
    watchers = Watchers(
        lambda after, limit, job: [e for e in stored if e.id > after][:limit], last_event_id=2, metrics=metrics.table()
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

    watchers = Watchers(read, last_event_id=1, metrics=metrics.table())
    stream = watchers.stream(after=0)
    next(stream)
    assert b"event 2" in next(stream)


def test_a_watcher_of_one_job_waits_while_others_have_news(monkeypatch):
    monkeypatch.setattr("serenity.framework.watchers.KEEP_ALIVE_S", 0.05)
    reads = []
    watchers = Watchers(lambda *asked: reads.append(asked) or [], last_event_id=5, metrics=metrics.table())
    stream = watchers.stream(after=2, job_id="j1")
    assert next(stream) == b"id: 2\n\n"
    assert [next(stream) for _ in range(3)] == [b": alive\n\n"] * 3
    assert reads == [(2, 500, "j1")], "nothing has happened since"


def test_a_watcher_without_a_last_id_starts_now():
    watchers = Watchers(lambda after, limit, job: [], last_event_id=7, metrics=metrics.table())
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


def test_turns_take_their_share_and_no_more():
    clock = ManualClock()
    turns, busy_s, turns_taken = Turns(clock, share=0.1), 0.0, 0
    while clock.monotonic_s() < 100.0:
        clock.advance(turns.take())
        turns.pay(0.02)
        busy_s, turns_taken = busy_s + 0.02, turns_taken + 1
    assert busy_s == pytest.approx(10.0, rel=0.05)


def test_a_watcher_who_is_alone_does_not_wait():
    clock = ManualClock()
    turns = Turns(clock, share=0.1)
    for _ in range(10):
        clock.advance(1.0)
        assert turns.take() == 0.0
        turns.pay(0.001)
