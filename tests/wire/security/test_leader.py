from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serenity.wire.mesos.leader import at_the_leader, leading_master, redirected
from serenity.wire.mesos.scheduler import SchedulerDriver
from serenity.wire.mesos.state import MasterReader
from serenity.wire.mesos.subscription import Backoff
from serenity.wire.transport.access import Access
from serenity.wire.transport.http import Endpoint, HttpError, Unreachable, get_json
from tests.wire.security.conftest import Authority
from tests.wire.security.fronts import Front

PLAIN = Endpoint("10.0.0.1", 5050)
SECURE = Endpoint("m1.example.org", 5050, tls=True)
QUICK = Backoff(first_s=0.01, max_s=0.05)
FRAMEWORK = {"user": "nobody", "name": "test", "roles": ["be"]}


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


@pytest.mark.parametrize(
    ("origin", "location", "expected"),
    [
        (PLAIN, "//10.0.0.2:5050", Endpoint("10.0.0.2", 5050)),
        (PLAIN, "//10.0.0.2:5050/api/v1/scheduler", Endpoint("10.0.0.2", 5050)),
        (PLAIN, "//m2.example.org:5051/slaves?x=1", Endpoint("m2.example.org", 5051)),
        (PLAIN, "//m2.example.org", Endpoint("m2.example.org", 5050)),
        (PLAIN, "//[::1]:5051/api", Endpoint("::1", 5051)),
        (PLAIN, "http://m2:5051", Endpoint("m2", 5051)),
        (PLAIN, "https://m2:5051/", Endpoint("m2", 5051, tls=True)),
        (SECURE, "//m2:5051/api", Endpoint("m2", 5051, tls=True)),
        (SECURE, "https://[::1]:5051", Endpoint("::1", 5051, tls=True)),
    ],
)
def test_forms_of_a_redirect(origin: Endpoint, location: str, expected: Endpoint) -> None:
    assert redirected(origin, location) == expected


@pytest.mark.parametrize(
    ("origin", "location", "why"),
    [
        (PLAIN, "/api/v1/scheduler", "redirects to no address"),
        (PLAIN, "//:5050", "redirects to no address"),
        (PLAIN, "//me:pw@m2:5050", "redirects to no address"),
        (SECURE, "http://m2:5050", "redirects to m2:5050, which has no TLS; not followed"),
        (SECURE, "HTTP://m2:5050", "redirects to m2:5050, which has no TLS; not followed"),
    ],
)
def test_redirects_that_are_not_followed(origin: Endpoint, location: str, why: str) -> None:
    with pytest.raises(Unreachable, match=why) as caught:
        redirected(origin, location)
    assert "pw" not in str(caught.value)


def test_a_reader_follows_to_the_leader_and_asks_it_first_from_then_on(peer: Any) -> None:
    leader = type(peer)(pages={"/slaves": {"slaves": [{"id": "a1"}]}})
    leader.start()
    with contextlib.closing(leader):
        peer.calls.append(lambda answer: answer.whole(307, Location=f"//{leader.address}/slaves"))
        reader = MasterReader(leading_master(peer.address))
        assert [reader.agents() for _ in range(2)] == [[{"id": "a1"}]] * 2
    assert len(peer.requests) == 1
    with pytest.raises(Unreachable):  # The leader is gone: from now on the one that was configured is asked again.
        reader.agents()
    peer.pages["/slaves"] = {"slaves": []}
    assert reader.agents() == []


def test_masters_that_redirect_in_a_circle_are_not_asked_for_ever(peer: Any) -> None:
    peer.calls.extend([lambda answer: answer.whole(307, Location=f"//{peer.address}/slaves")] * 100)
    with pytest.raises(Unreachable, match=f"{peer.address} redirects in a circle"):
        MasterReader(leading_master(peer.address)).agents()
    assert len(peer.requests) == 5


def test_a_reader_that_is_not_let_in_says_what_to_check(peer: Any) -> None:
    peer.calls.append(lambda answer: answer.whole(401, b"401 Unauthorized."))
    with pytest.raises(HttpError, match=r"/slaves, asked by serenity: check principal and secret_file: HTTP 401"):
        MasterReader(leading_master(peer.address), access=Access(principal="serenity")).agents()


@ipv6
def test_requests_over_ipv6(peer: Any, front: Callable[..., Front]) -> None:
    before = front(peer.address, host="::1")
    peer.pages["/state"] = {"id": "a1"}
    for text in (before.address, f"http://{before.address}"):
        endpoint = Endpoint.parse(text)
        assert str(endpoint) == before.address
        assert get_json(endpoint, "/state") == {"id": "a1"}
    assert {each.headers["host"] for each in peer.requests} == {f"[::1]:{before.port}"}


@ipv6
@pytest.mark.parametrize("tls", [False, True])
def test_a_scheduler_follows_to_a_leader_with_an_ipv6_address(
    peer: Any,
    front: Callable[..., Front],
    authority: Authority,
    recorder: Any,
    shape: Callable[[str], Any],
    eventually: Callable[..., Any],
    tls: bool,
) -> None:
    peer.greeting = shape("scheduler_events.json")[0]
    leading = front(peer.address, authority.server() if tls else None, host="::1")
    first = front(peer.address, authority.server() if tls else None)
    peer.subscribes.append(lambda answer: answer.whole(307, Location=f"//{leading.address}/api/v1/scheduler"))
    access = authority.access if tls else Access()
    scheme = "https://" if tls else ""
    driver = SchedulerDriver(recorder, FRAMEWORK, f"{scheme}{first.address}", access=access, backoff=QUICK)
    driver.start()
    try:
        eventually(lambda: "registered" in recorder.names())
        master = recorder.told[0][2]
        assert (master["hostname"], master["port"]) == ("::1", leading.port)
        driver.reviveOffers()
        assert peer.requests[-1].headers["host"] == f"[::1]:{leading.port}"
    finally:
        driver.stop()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("h7", "h7:5050"),
        ("https://h7:5050", "https://h7:5050"),
        ("[::1]", "[::1]:5050"),
        ("zk://h7/mesos", "zk://h7:2181/mesos"),
        ("zk://me:pw@h7:2181,[::1]:2182/a/mesos/", "zk://h7:2181,[::1]:2182/a/mesos"),
    ],
)
def test_addresses_of_masters_and_how_people_are_shown_them(tmp_path: Path, text: str, shown: str) -> None:
    assert str(leading_master(text)) == shown
    file = tmp_path / "master"
    file.write_text(f"{text}\n")
    assert str(leading_master(f"file://{file}")) == shown


@pytest.mark.parametrize(
    "text", ["zk://", "zk://h7", "zk://h7/", "zk:///mesos", "zk://h7:x/mesos", "zk://geheim@h7/mesos", "zk://h7//m"]
)
def test_what_is_no_zookeeper_address_is_said_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="is no ZooKeeper address; write zk://HOST:PORT,HOST:PORT/PATH") as caught:
        leading_master(text)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "unix:/a.sock", "zoo://h7/mesos", "http://me:geheim@h7:5050"])
def test_what_is_no_master_is_said_in_words(text: str) -> None:
    with pytest.raises(ValueError, match=r"address; write (HOST:PORT|zk://)") as caught:
        leading_master(text)
    assert "geheim" not in str(caught.value)


def test_a_file_without_an_address_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"cannot read {tmp_path}/none: No such file"):
        leading_master(f"file://{tmp_path}/none")


def test_any_other_error_goes_through(peer: Any) -> None:
    peer.calls.append(lambda answer: answer.whole(307))
    with pytest.raises(HttpError, match="HTTP 307"):
        at_the_leader(leading_master(peer.address), lambda endpoint: get_json(endpoint, "/slaves"))
