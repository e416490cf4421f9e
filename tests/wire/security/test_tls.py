from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serenity.wire.transport.access import Access
from serenity.wire.transport.http import Client, Endpoint, Unreachable, get_json, open_stream, request
from serenity.wire.transport.tls import client_context
from serenity.wire.transport.trust_files import UnusableFile
from tests.wire.security.conftest import Authority
from tests.wire.security.fronts import Front

SUBSCRIBE = {"type": "SUBSCRIBE"}


@pytest.fixture
def served(peer: Any, front: Callable[..., Front], authority: Authority) -> Front:
    """The peer, with TLS before it."""
    return front(peer.address, authority.server())


def https(address: str, name: str = "127.0.0.1") -> Endpoint:
    return Endpoint.parse(f"https://{name}:{address.rpartition(':')[2]}")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_requests_share_one_connection(served: Front, peer: Any, authority: Authority, name: str) -> None:
    client = Client(https(served.address, name), access=authority.access)
    assert [client.request("POST", "/x", {"type": "A"}).status for _ in range(3)] == [202, 202, 202]
    client.close()
    assert served.connections == 1
    assert peer.requests[0].headers["host"] == f"{name}:{served.port}"


def test_a_connection_that_the_peer_has_closed_is_opened_anew(
    served: Front, authority: Authority, eventually: Callable[..., Any]
) -> None:
    client = Client(https(served.address), access=authority.access)
    client.request("GET", "/")
    served.cut()
    answers = [client.request("GET", "/").status for _ in range(2)]
    client.close()
    assert answers == [202, 202] and served.connections == 2


def test_a_large_body_comes_whole(served: Front, peer: Any, authority: Authority) -> None:
    peer.calls.append(lambda answer: answer.whole(200, b'"' + b"x" * 3_000_000 + b'"'))
    assert get_json(https(served.address), "/state", access=authority.access) == "x" * 3_000_000


def test_a_stream_brings_what_arrives_as_it_arrives(
    served: Front, peer: Any, authority: Authority, eventually: Callable[..., Any]
) -> None:
    stream = open_stream(https(served.address), "POST", "/", SUBSCRIBE, silence_s=0.3, access=authority.access)
    answer = eventually(lambda: peer.streams)[0]
    chunks = stream.chunks()
    for each in (b"one", b"two"):
        answer.chunk(each)
        assert next(chunks) == each
    with pytest.raises(Unreachable, match="silent for too long"):
        next(chunks)
    eventually(lambda: answer.left)


def test_closing_wakes_the_thread_that_reads(
    served: Front, peer: Any, authority: Authority, eventually: Callable[..., Any]
) -> None:
    stream = open_stream(https(served.address), "POST", "/", SUBSCRIBE, access=authority.access)
    read: list[bytes] = []
    thread = threading.Thread(target=lambda: read.extend(stream.chunks()))
    thread.start()
    answer = eventually(lambda: peer.streams)[0]
    answer.chunk(b"one")
    eventually(lambda: read == [b"one"])
    stream.close()
    stream.close()
    thread.join(5)
    assert not thread.is_alive() and not stream.ended_by_peer
    eventually(lambda: answer.left)


def test_a_stream_that_is_cut_off_did_not_end_in_order(served: Front, peer: Any, authority: Authority) -> None:
    stream = open_stream(https(served.address), "POST", "/", SUBSCRIBE, access=authority.access)
    served.cut()
    with pytest.raises(Unreachable, match="cut off"):
        list(stream.chunks())
    assert not stream.ended_by_peer


# -- who is believed, and what is said otherwise -------------------------------------------------


def refusal(endpoint: Endpoint, access: Access) -> str:
    """Why there is no answer; the same for a request and for a stream, and one line."""
    with pytest.raises(Unreachable) as of_request:
        request(endpoint, "GET", "/", access=access)
    with pytest.raises(Unreachable) as of_stream:
        open_stream(endpoint, "POST", "/", SUBSCRIBE, access=access)
    assert str(of_request.value) == str(of_stream.value) and "\n" not in str(of_request.value)
    return str(of_request.value)


def test_an_authority_that_was_not_named_is_not_trusted(served: Front, peer: Any, stranger: Authority) -> None:
    for access in (stranger.access, Access()):
        said = refusal(https(served.address), access)
        assert f"the certificate of https://{served.address} is not trusted" in said and "ca_file" in said
    assert peer.requests == []


def test_a_certificate_for_another_name_is_not_taken(
    peer: Any, front: Callable[..., Front], authority: Authority
) -> None:
    elsewhere = front(peer.address, authority.server("master.example.org"))
    for name in ("127.0.0.1", "localhost"):
        said = refusal(https(elsewhere.address, name), authority.access)
        assert f"is for another name than {name}; call it by the name in its certificate" in said
    assert peer.requests == []


def test_the_name_to_look_for_may_be_another_than_the_one_that_is_called(
    peer: Any, front: Callable[..., Front], authority: Authority
) -> None:
    elsewhere = front(peer.address, authority.server("agent.example.org"))
    access = Access(tls=client_context(authority.ca_file), server_name="agent.example.org")
    assert request(https(elsewhere.address), "GET", "/", access=access).status == 202


def test_plain_http_where_tls_is_spoken(served: Front) -> None:
    said = refusal(Endpoint.parse(served.address), Access())
    assert said.startswith(f"cannot reach {served.address}: ") and said.endswith("if it speaks TLS, write https://")


def test_a_server_that_answers_plain_http_with_a_tls_alert_is_known_by_that(peer: Any) -> None:
    peer.calls.append(lambda answer: (answer.raw(b"\x15\x03\x03\x00\x02\x02\x0a\r\n"), answer.cut()))
    with pytest.raises(Unreachable, match="if it speaks TLS, write https://"):
        request(Endpoint.parse(peer.address), "GET", "/")


def test_tls_where_plain_http_is_spoken(peer: Any, authority: Authority) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in (b"HTTP/1.1 400 Bad Request\r\n\r\n", b""):
                sock, _ = server.accept()
                sock.recv(65536)
                sock.sendall(answer)
                sock.close()

        threading.Thread(target=serve, daemon=True).start()
        endpoint = Endpoint("127.0.0.1", server.getsockname()[1], tls=True)
        with pytest.raises(Unreachable, match=r"does not speak TLS; write http://"):
            request(endpoint, "GET", "/", access=authority.access)
        with pytest.raises(Unreachable, match=r"if it does not speak that, write http://"):
            request(endpoint, "GET", "/", access=authority.access)


@pytest.mark.skipif(not ssl.HAS_TLSv1_1, reason="this OpenSSL has no TLS older than 1.2")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_server_of_old_tls_only_is_refused(peer: Any, front: Callable[..., Front], authority: Authority) -> None:
    context = authority.server()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    old = front(peer.address, context)
    assert "no TLS of 1.2 or newer" in refusal(https(old.address), authority.access)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_wants_our_certificate(
    peer: Any, front: Callable[..., Front], authority: Authority, stranger: Authority, newest: ssl.TLSVersion
) -> None:
    context = authority.server(clients=True)
    context.maximum_version = newest
    strict = front(peer.address, context)
    cert, key = authority.client_files()
    known = Access(tls=client_context(authority.ca_file, cert, key))
    assert request(https(strict.address), "GET", "/", access=known).status == 202
    other = Access(tls=client_context(authority.ca_file, *stranger.client_files()))
    for access in (authority.access, other):
        # Under TLS 1.3 the alert that says so, or only the end of the connection, comes with the answer.
        with pytest.raises(Unreachable, match="client_cert"):
            request(https(strict.address), "GET", "/", access=access)


def test_without_verification_anybody_is_believed(served: Front) -> None:
    assert request(https(served.address), "GET", "/", access=Access(tls=client_context(verify=False))).status == 202


# -- files ---------------------------------------------------------------------------------------


def test_files_that_cannot_be_used_are_named(tmp_path: Path, authority: Authority) -> None:
    cert, key = authority.client_files()
    other_key = authority.client_files("other@example.org")[1]
    text, nothing = tmp_path / "text", tmp_path / "nothing"
    text.write_text("no certificate")
    text.chmod(0o600)
    encrypted = tmp_path / "encrypted.key"
    convert = ["openssl", "pkey", "-in", key, "-aes128", "-passout", "pass:geheim", "-out", str(encrypted)]
    subprocess.run(convert, check=True, timeout=30)
    wrong: list[tuple[tuple[Any, ...], str]] = [
        ((str(nothing),), f"ca_file: cannot read {nothing}: No such file"),
        ((str(tmp_path),), f"ca_file: cannot read {tmp_path}: Is a directory"),
        ((str(text),), f"ca_file: {text} holds no certificate"),
        ((None, str(nothing), key), f"client_cert: cannot read {nothing}: No such file"),
        ((None, cert, str(nothing)), f"client_key: cannot read {nothing}: No such file"),
        ((None, str(text)), f"client_cert: {text} hold"),
        ((None, cert, other_key), f"client_key: {other_key} is not the key of {cert}"),
        ((None, cert, str(encrypted)), f"client_key: {encrypted} is encrypted"),
        ((None, None, key), "client_key is given without client_cert"),
    ]
    for arguments, expected in wrong:
        with pytest.raises(UnusableFile) as caught:
            client_context(*arguments)
        assert str(caught.value).startswith(expected)


def test_certificate_and_key_may_stand_in_one_file(
    tmp_path: Path, peer: Any, front: Callable[..., Front], authority: Authority
) -> None:
    both = tmp_path / "both.pem"
    both.write_text("".join(Path(each).read_text() for each in authority.client_files()))
    both.chmod(0o600)
    strict = front(peer.address, authority.server(clients=True))
    access = Access(tls=client_context(authority.ca_file, str(both)))
    assert request(https(strict.address), "GET", "/", access=access).status == 202


def test_a_key_that_others_can_read_is_warned_of(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    cert, key = authority.client_files("open@example.org")
    Path(key).chmod(0o644)
    client_context(authority.ca_file, cert, key)
    assert [each.getMessage() for each in caplog.records] == [
        f"client_key: {key} is open to others than its owner (mode 0644); chmod 600 it"
    ]
