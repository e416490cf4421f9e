"""The recorder adds nothing and takes nothing away, and is gone when either side is."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from serenity.wire.transport.endpoint import Endpoint
from serenity.wire.transport.http import get_json
from serenity.wire.transport.recordio import encode
from tests.messages.recorder import Recorder
from tests.polling import eventually
from tests.wire.conftest import Peer

SUBSCRIBED = {"type": "SUBSCRIBED", "subscribed": {"provider_id": {"value": "p"}}}


@pytest.fixture
def recorder(peer: Peer) -> Iterator[Recorder]:
    """Before a peer that plays both master and agent."""
    nothing = SimpleNamespace(master=peer.address, agent=peer.address, start=lambda: None, stop=lambda: None)
    made = Recorder(nothing)  # type: ignore[arg-type]  # As much of a cluster as it asks for.
    made.start()
    yield made
    made.stop()


def said(address: str, kind: str) -> socket.socket:
    """A connection on which a provider has made one call."""
    host, _, port = address.rpartition(":")
    sock = socket.create_connection((host, int(port)), timeout=5.0)
    body = json.dumps({"type": kind}).encode()
    head = b"POST /api/v1/resource_provider HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    sock.sendall(head + body)
    return sock


def read(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (piece := sock.recv(count - len(data))):
        data += piece
    return data


RECORDS = encode(json.dumps(SUBSCRIBED).encode()) + encode(b'{"type":"TEARDOWN"}')
# Records cut across chunks, two in one chunk, and an extension of a chunk that a proxy might drop.
STREAM = (
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nMesos-Stream-Id: s\r\n\r\n"
    b"5;x=y\r\n%b\r\n%X\r\n%b\r\n0\r\n\r\n" % (RECORDS[:5], len(RECORDS) - 5, RECORDS[5:])
)


def test_a_stream_arrives_as_it_was_sent_and_is_recorded(recorder: Recorder, peer: Peer) -> None:
    peer.subscribes.append(lambda answer: answer.raw(STREAM))
    with said(recorder.agent, "SUBSCRIBE") as sock:
        assert read(sock, len(STREAM)) == STREAM
    assert [(each.direction, each.body) for each in recorder.recording] == [
        ("call", {"type": "SUBSCRIBE"}),
        ("response", {"type": "SUBSCRIBE", "status": 200, "headers": {"mesos-stream-id": "s"}}),
        ("event", SUBSCRIBED),
        ("event", {"type": "TEARDOWN"}),
    ]


def test_mesos_learns_at_once_that_a_subscriber_has_left(recorder: Recorder, peer: Peer) -> None:
    peer.greeting = SUBSCRIBED
    with said(recorder.agent, "SUBSCRIBE"):
        eventually(lambda: recorder.recording.of("provider", "event"), "the greeting")
        assert not peer.streams[0].left
    eventually(lambda: peer.streams[0].left, "the stream's end")


def test_a_call_that_is_cut_off_does_not_arrive(recorder: Recorder, peer: Peer) -> None:
    recorder.cut_off_next("provider", "UPDATE_STATE")
    with said(recorder.agent, "UPDATE_STATE") as cut:
        assert cut.recv(1) == b""
    with said(recorder.agent, "UPDATE_STATE") as passed:
        assert passed.recv(12) == b"HTTP/1.1 202"
    assert len(peer.sent("UPDATE_STATE")) == 1
    assert len(recorder.recording.of("provider", "call")) == 2


def test_reading_is_not_recorded(recorder: Recorder, peer: Peer) -> None:
    peer.pages["/state"] = {"id": "a"}
    assert get_json(Endpoint.parse(recorder.agent), "/state") == {"id": "a"}
    assert list(recorder.recording) == []
