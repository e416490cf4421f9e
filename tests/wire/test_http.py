from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serenity.wire.transport.http import (
    Client,
    Endpoint,
    HttpError,
    Stream,
    Unreachable,
    get_json,
    open_stream,
    request,
)


@pytest.fixture
def endpoint(peer: Any) -> Endpoint:
    return Endpoint.parse(peer.address)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("h7:5050", Endpoint("h7", 5050)),
        ("h7", Endpoint("h7", 5051)),
        ("http://10.0.0.7:80/base/", Endpoint("10.0.0.7", 80, "/base")),
        ("https://h7:5050", Endpoint("h7", 5050, tls=True)),
        ("[::1]:5050", Endpoint("::1", 5050)),
        ("[fe80::1]", Endpoint("fe80::1", 5051)),
        ("http://[::1]:5050", Endpoint("::1", 5050)),
        ("unix:/run/serenity/a.sock", Endpoint("localhost", 0, unix_path="/run/serenity/a.sock")),
    ],
)
def test_addresses(text: str, expected: Endpoint) -> None:
    assert Endpoint.parse(text, 5051) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", ":5050", "h7:0", "h7:99999", "h7:port", "ftp://h7:1", "zk://h7:2181/mesos", "me:pw@h7:1", "a b:1"),
        *("a..b:1", "http://[::1", "unix:", "unix:relative"),
    ],
)
def test_what_is_no_address_is_said_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="is no address; write HOST:PORT"):
        Endpoint.parse(text, 5051)


def test_an_address_without_port_needs_a_default() -> None:
    with pytest.raises(ValueError, match="h7"):
        Endpoint.parse("h7")


def test_requests_share_one_connection(peer: Any, endpoint: Endpoint) -> None:
    client = Client(endpoint)
    assert [client.request("POST", "/x", {"type": "A"}).status for _ in range(3)] == [202, 202, 202]
    client.close()
    assert peer.connections == 1


def test_a_connection_that_the_peer_has_closed_is_opened_anew(peer: Any, endpoint: Endpoint) -> None:
    client = Client(endpoint)
    peer.calls.append(lambda answer: (answer.whole(202), answer.cut()))
    assert client.request("POST", "/x", {"type": "FIRST"}).status == 202
    time.sleep(0.05)  # The peer's FIN is on its way.
    assert client.request("POST", "/x", {"type": "SECOND"}).status == 202
    assert client.request("POST", "/x", {"type": "THIRD"}).status == 202
    assert peer.connections == 2
    client.close()


@pytest.mark.parametrize("earlier", [0, 1])
def test_a_request_whose_connection_breaks_is_not_sent_again(peer: Any, endpoint: Endpoint, earlier: int) -> None:
    peer.calls.extend([lambda answer: answer.whole(202)] * earlier + [lambda answer: answer.cut()])
    client = Client(endpoint)
    for _ in range(earlier):
        client.request("POST", "/x", {"type": "EARLIER"})
    with pytest.raises(Unreachable) as caught:
        client.request("POST", "/x", {"type": "ACCEPT"})
    assert caught.value.may_have_arrived
    assert len(peer.sent("ACCEPT")) == 1
    assert client.request("POST", "/x", {"type": "NEXT"}).status == 202
    client.close()


def test_the_credentials_of_one_request_are_not_sent_with_the_next(peer: Any, endpoint: Endpoint) -> None:
    client = Client(endpoint)
    client.request("POST", "/x", {}, {"Authorization": "Bearer secret"})
    client.request("POST", "/x", {})
    assert ["authorization" in each.headers for each in peer.requests] == [True, False]


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(Unreachable, match=f"cannot reach 127.0.0.1:{port}: Connection refused") as caught:
        request(Endpoint("127.0.0.1", port), "GET", "/")
    assert not caught.value.may_have_arrived


def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    with pytest.raises(Unreachable, match=r"nowhere\.invalid:1"):
        request(Endpoint("nowhere.invalid", 1), "GET", "/")
    with pytest.raises(Unreachable):
        open_stream(Endpoint("no where", 1), "GET", "/")


def test_a_peer_that_does_not_answer_is_unreachable_but_may_have_heard(peer: Any, endpoint: Endpoint) -> None:
    peer.calls.append(lambda answer: None)
    with pytest.raises(Unreachable, match="does not answer") as caught:
        request(endpoint, "POST", "/", {"type": "ACCEPT"}, timeout_s=0.1)
    assert caught.value.may_have_arrived


def test_a_body_that_is_cut_short_is_no_answer(peer: Any, endpoint: Endpoint) -> None:
    def half(answer: Any) -> None:
        answer.raw(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"half":')
        answer.cut()

    peer.calls.append(half)
    with pytest.raises(Unreachable):
        request(endpoint, "GET", "/state")


def test_a_large_body_comes_whole(peer: Any, endpoint: Endpoint) -> None:
    body = b"[" + b"1," * 2_000_000 + b"1]"
    peer.calls.append(lambda answer: answer.whole(200, body))
    assert len(get_json(endpoint, "/slaves")) == 2_000_001


def test_what_is_no_json_and_what_is_no_200(peer: Any, endpoint: Endpoint) -> None:
    peer.calls.extend([lambda answer: answer.whole(200, b"<html>"), lambda answer: answer.whole(503, b"recovering")])
    with pytest.raises(HttpError, match="no JSON"):
        get_json(endpoint, "/state")
    with pytest.raises(HttpError, match=r"GET .*/state: HTTP 503: recovering"):
        get_json(endpoint, "/state")


def test_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            peer, _ = server.accept()
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            peer.close()

        threading.Thread(target=serve, daemon=True).start()
        assert get_json(Endpoint.parse(f"unix:{path}"), "/") == {}
    with pytest.raises(Unreachable, match=r"b\.sock: No such file"):
        get_json(Endpoint.parse(f"unix:{tmp_path}/b.sock"), "/")


# -- streams ---------------------------------------------------------------------------------


@pytest.fixture
def stream(peer: Any, endpoint: Endpoint) -> Stream:
    return open_stream(endpoint, "POST", "/", {"type": "SUBSCRIBE"}, silence_s=0.2)


def test_chunks_come_as_they_arrive_and_an_end_in_order_is_known_as_such(
    peer: Any, stream: Stream, eventually: Callable[..., Any]
) -> None:
    assert stream.headers["mesos-stream-id"] == "stream-0"
    answer = eventually(lambda: peer.streams)[0]
    chunks = stream.chunks()
    answer.chunk(b"one")
    assert next(chunks) == b"one"
    answer.chunk(b"two")
    assert next(chunks) == b"two"
    answer.end()
    assert list(chunks) == []
    assert stream.ended_by_peer
    eventually(lambda: answer.left)


def test_a_stream_that_is_cut_off_did_not_end_in_order(
    peer: Any, stream: Stream, eventually: Callable[..., Any]
) -> None:
    answer = eventually(lambda: peer.streams)[0]
    answer.cut()
    with pytest.raises(Unreachable, match="cut off"):
        list(stream.chunks())
    assert not stream.ended_by_peer


def test_a_stream_that_is_silent_for_too_long_is_over(stream: Stream) -> None:
    with pytest.raises(Unreachable, match="silent for too long"):
        list(stream.chunks())


def test_closing_wakes_the_thread_that_reads_and_frees_the_socket(
    peer: Any, endpoint: Endpoint, eventually: Callable[..., Any]
) -> None:
    stream = open_stream(endpoint, "POST", "/", {"type": "SUBSCRIBE"})
    read: list[list[bytes]] = []
    thread = threading.Thread(target=lambda: read.append(list(stream.chunks())))
    thread.start()
    answer = eventually(lambda: peer.streams)[0]
    stream.close()
    stream.close()
    thread.join(5)
    assert read == [[]] and not stream.ended_by_peer
    eventually(lambda: answer.left)


def test_a_stream_that_is_closed_before_it_is_read_is_empty(stream: Stream) -> None:
    stream.close()
    assert list(stream.chunks()) == []
    assert not stream.ended_by_peer


def test_no_socket_is_left_behind(peer: Any, endpoint: Endpoint) -> None:
    before = open_files()
    for _ in range(5):
        peer.subscribes.append(lambda answer: answer.whole(503, b"not yet"))
        with pytest.raises(HttpError) as caught:
            open_stream(endpoint, "POST", "/", {"type": "SUBSCRIBE"})
        assert caught.value.status == 503
        open_stream(endpoint, "POST", "/", {"type": "SUBSCRIBE"}).close()
    ours = open_files() - before - len(peer._socks)  # The peer's ends are in this process too.
    assert ours <= 0


def test_a_peer_that_vanishes_is_noticed_on_a_stream_where_nothing_is_said(
    peer: Any, endpoint: Endpoint, eventually: Callable[..., Any]
) -> None:
    """Its machine or address is gone, and no packet ever says so: the kernel asks now and then."""
    stream = open_stream(endpoint, "POST", "/", {"type": "SUBSCRIBE"})
    port = peer.streams[0].sock.getpeername()[1]
    connection = [f"0100007F:{each:04X}" for each in (port, endpoint.port)]

    def kernel_asks_within_a_minute() -> bool:
        lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines())
        ((kind, jiffies),) = (line[5].split(":") for line in lines if line[1:3] == connection)
        # proc(5), in hexadecimal; 2 is keepalive's timer, others are there for what is on its way.
        return int(kind, 16) == 2 and int(jiffies, 16) <= 60 * os.sysconf("SC_CLK_TCK")

    assert eventually(kernel_asks_within_a_minute)
    stream.close()
