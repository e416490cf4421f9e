"""Many requests on one connection before the first answer, against a server that answers as it is told."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from serenity.wire.transport import answers
from serenity.wire.transport.http import Client, Endpoint, Unreachable

ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
REFUSED = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 4\r\n\r\noops"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\n"
Serve = Callable[..., Client]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """A client of a server that reads `requests` whole requests, says `answer` in small pieces, and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))
    clients: list[Client] = []

    def start(answer: bytes, requests: int) -> Client:
        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                seen = b""
                while seen.count(b'{"n":') < requests:
                    seen += connection.recv(65536)
                with contextlib.suppress(ConnectionError):  # The client has seen enough, and is gone.
                    for start in range(0, len(answer), 7):
                        connection.sendall(answer[start : start + 7])

        threading.Thread(target=run, daemon=True).start()
        clients.append(Client(Endpoint("127.0.0.1", listener.getsockname()[1]), timeout_s=10.0))
        return clients[-1]

    yield start
    for client in clients:
        client.close()
    listener.close()


def pipeline(client: Client, requests: int) -> list[tuple[int, bytes]]:
    bodies = [{"n": number} for number in range(requests)]
    return [(each.status, each.body) for each in client.pipeline("POST", "/x", bodies, {"Mesos-Stream-Id": "s"})]


def test_all_is_sent_before_the_first_answer_and_answers_come_in_order(serve: Serve) -> None:
    client = serve(ACCEPTED + REFUSED + CHUNKED + ACCEPTED, 4)
    assert pipeline(client, 4) == [(202, b""), (400, b"oops"), (200, b"abcde"), (202, b"")]


@pytest.mark.parametrize(
    "answer",
    [
        ACCEPTED,
        ACCEPTED + REFUSED[:-1],
        ACCEPTED + CHUNKED[:-12],
        ACCEPTED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + ACCEPTED,
        ACCEPTED + b"HTTP/1.1 202 Accepted\r\nContent-Length: -1\r\n\r\n",
        ACCEPTED + b"HTTP/1.1 202 Accepted\r\nContent-Length: 99999999999\r\n\r\n",
        ACCEPTED + b"nonsense\r\n\r\n",
        ACCEPTED + b"HTTP/1.1 202 Accepted\r\nno header\r\n\r\n",
        ACCEPTED + b"HTTP/1.1 202 Accepted\r\n" + b"A: b\r\n" * 3 + b"x" * 70_000,
        b"",
    ],
)
def test_what_is_not_answered_may_have_arrived(serve: Serve, answer: bytes) -> None:
    with pytest.raises(Unreachable) as failed:
        pipeline(serve(answer, 2), 2)
    assert failed.value.may_have_arrived


@pytest.mark.parametrize("length", [20, 21])
def test_a_body_that_ends_with_the_connection_is_whole_or_none(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    monkeypatch.setattr(answers, "_BODY_BYTES", 20)
    client = serve(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * length, 1)
    if length <= 20:
        assert pipeline(client, 1) == [(200, b"x" * length)]
    else:
        with pytest.raises(Unreachable, match="too long"):
            pipeline(client, 1)


def test_nobody_there_is_told_apart_from_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(Unreachable) as failed:
        pipeline(Client(Endpoint("127.0.0.1", port)), 2)
    assert not failed.value.may_have_arrived
