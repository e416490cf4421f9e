from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from serenity.wire.mesos.subscription import Backoff, Event, FinalError, Subscription
from serenity.wire.transport.http import Endpoint, Stream, open_stream

QUICK = Backoff(first_s=0.01, max_s=0.05)


class Subscriber:
    """Subscribes to the peer and keeps what it is told."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.events: list[Event] = []
        self.reasons: list[str] = []
        self.ends: list[str] = []
        self.on_open: Callable[[], None] = lambda: None
        self.on_event: Callable[[Event], None] = lambda event: None

    def open(self) -> Stream:
        self.on_open()
        return open_stream(self.endpoint, "POST", "/", {"type": "SUBSCRIBE"})

    def event(self, event: Event) -> None:
        self.events.append(event)
        self.on_event(event)

    def closed(self, reason: str) -> None:
        self.reasons.append(reason)

    def failed(self, error: FinalError) -> None:
        self.ends.append(str(error))


@pytest.fixture
def subscriber(peer: Any) -> Subscriber:
    return Subscriber(Endpoint.parse(peer.address))


@pytest.fixture
def subscription(subscriber: Subscriber) -> Iterator[Subscription]:
    made = Subscription(subscriber, QUICK, "test stream")
    yield made
    made.stop()


def test_it_opens_again_whatever_ended_the_stream(
    peer: Any, subscriber: Subscriber, subscription: Subscription, eventually: Callable[..., Any]
) -> None:
    endings: list[Callable[[Any], None]] = [
        lambda answer: answer.whole(503, b"recovering"),
        lambda answer: (answer.begin_stream(), answer.end()),
        lambda answer: (answer.begin_stream(), answer.cut()),
        lambda answer: answer.raw(b"not even HTTP\r\n\r\n"),
        lambda answer: (answer.begin_stream(), answer.chunk(b"no length\n")),
        lambda answer: (answer.begin_stream(), answer.chunk(b"3\n{{{")),
    ]
    peer.subscribes.extend(endings)
    subscription.start()
    stream = eventually(lambda: peer.streams)[0]
    stream.event({"type": "X"})
    eventually(lambda: subscriber.events == [{"type": "X"}])
    assert len(subscriber.reasons) == len(endings)
    assert "HTTP 503: recovering" in subscriber.reasons[0]
    assert subscriber.reasons[1] == "the peer ended the stream"
    assert "an event is no JSON" in subscriber.reasons[5]


def test_an_event_with_bytes_that_are_no_utf_8_is_heard(
    peer: Any, subscriber: Subscriber, subscription: Subscription, eventually: Callable[..., Any]
) -> None:
    """Mesos sends an update again until it is acknowledged: one that is never understood would end every stream."""
    subscription.start()
    record = b'{"type": "X", "message": "a B\xfc"}'
    eventually(lambda: peer.streams)[0].chunk(b"%d\n%b" % (len(record), record))
    eventually(lambda: subscriber.events or subscriber.reasons)
    assert subscriber.events == [{"type": "X", "message": "a B\ufffd"}] and subscriber.reasons == []


def test_an_event_that_raises_does_not_cost_the_stream(
    peer: Any, subscriber: Subscriber, subscription: Subscription, eventually: Callable[..., Any]
) -> None:
    def refuse(event: Event) -> None:
        raise RuntimeError("not this one")

    subscriber.on_event = refuse
    subscription.start()
    stream = eventually(lambda: peer.streams)[0]
    for event in ({"type": "A"}, ["no", "object"], {"type": "B"}):
        stream.event(event)
    eventually(lambda: len(subscriber.events) == 3)
    assert subscriber.reasons == [] and len(peer.streams) == 1


def test_an_unforeseen_error_in_opening_is_tried_again(
    peer: Any, subscriber: Subscriber, subscription: Subscription, eventually: Callable[..., Any]
) -> None:
    left = [KeyError("who would have thought")]

    def raise_once() -> None:
        if left:
            raise left.pop()

    subscriber.on_open = raise_once
    subscription.start()
    eventually(lambda: peer.streams)
    assert subscriber.reasons == ["KeyError('who would have thought')"]


def test_a_final_error_ends_it(
    peer: Any, subscriber: Subscriber, subscription: Subscription, eventually: Callable[..., Any]
) -> None:
    def end(event: Event) -> None:
        raise FinalError("removed")

    subscriber.on_event = end
    peer.greeting = {"type": "ERROR"}
    subscription.start()
    subscription.join(5)
    assert not subscription.alive
    assert subscriber.ends == ["removed"] and subscriber.reasons == []
    eventually(lambda: peer.streams[0].left)


def test_stopping_is_quick_silent_and_may_be_repeated(
    peer: Any, subscriber: Subscriber, subscription: Subscription, eventually: Callable[..., Any]
) -> None:
    peer.greeting = {"type": "A"}
    subscription.start()
    eventually(lambda: subscriber.events)
    began = time.monotonic()
    subscription.stop()
    subscription.stop()
    assert time.monotonic() - began < 1.0
    assert not subscription.alive and subscriber.reasons == []
    eventually(lambda: peer.streams[0].left)


def test_stopping_before_it_was_started_or_in_a_callback(
    peer: Any, subscriber: Subscriber, subscription: Subscription, eventually: Callable[..., Any]
) -> None:
    subscriber.on_event = lambda event: subscription.stop()
    peer.subscribes.append(lambda answer: (answer.begin_stream(), answer.chunk(b'12\n{"type":"A"}12\n{"type":"B"}')))
    subscription.start()
    subscription.join(5)
    assert not subscription.alive
    assert subscriber.events == [{"type": "A"}]
    never_started = Subscription(subscriber, QUICK, "never")
    never_started.stop()
    never_started.join()


def test_stopping_while_it_opens_hands_nothing_on(
    peer: Any, subscriber: Subscriber, subscription: Subscription, eventually: Callable[..., Any]
) -> None:
    go_on, asked = threading.Event(), threading.Event()

    def late(answer: Any) -> None:
        asked.set()
        go_on.wait(5)
        peer.streams.append(answer)
        answer.begin_stream()
        answer.event({"type": "A"})

    peer.subscribes.append(late)
    subscription.start()
    assert asked.wait(5)
    subscription.stop(timeout_s=0.05)
    assert subscription.alive
    go_on.set()
    subscription.join(5)
    assert not subscription.alive
    assert subscriber.events == [] and subscriber.reasons == []
    eventually(lambda: peer.streams[0].left)


def test_reopening_is_one_more_stream_not_two_at_once(
    peer: Any, subscriber: Subscriber, subscription: Subscription, eventually: Callable[..., Any]
) -> None:
    peer.greeting = {"type": "A"}
    subscription.start()
    eventually(lambda: len(subscriber.events) == 1)
    subscription.reopen()
    eventually(lambda: len(subscriber.events) == 2)
    assert peer.streams[0].left and not peer.streams[1].left
    assert subscriber.reasons == ["the stream was closed, to subscribe again"]


def test_pauses_grow_to_their_bound_with_jitter() -> None:
    pauses = Backoff(first_s=1.0, max_s=6.0).pauses()
    for bound_s in (1.0, 2.0, 4.0, 6.0, 6.0):
        assert bound_s / 2 <= next(pauses) <= bound_s


def test_no_pause_is_above_the_bound_even_if_the_first_would_be() -> None:
    assert next(Backoff(first_s=5.0, max_s=0.01).pauses()) <= 0.01


def test_pauses_begin_anew_after_progress_only(
    peer: Any, subscriber: Subscriber, eventually: Callable[..., Any]
) -> None:
    opened: list[float] = []
    subscriber.on_open = lambda: opened.append(time.monotonic())
    peer.subscribes.extend([lambda answer: answer.whole(503)] * 4)
    subscription = Subscription(subscriber, Backoff(first_s=0.04, max_s=10.0), "test stream")
    peer.greeting = {"type": "A"}
    subscription.start()
    eventually(lambda: subscriber.events)
    # 0.04, 0.08, 0.16 and 0.32 s, each at least half of it: no hammering of a peer that is not ready.
    assert opened[4] - opened[0] >= 0.3
    subscription.reopen()
    eventually(lambda: len(subscriber.events) == 2)
    assert opened[5] - opened[4] < 0.3
    subscription.stop()
