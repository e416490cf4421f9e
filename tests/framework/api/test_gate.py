"""Who gets in: names that are called, pages that send, tokens, and how often."""

from __future__ import annotations

import os

import pytest

from serenity.framework.api.gate import Gate, Peer
from serenity.framework.api.hosts import Hosts
from serenity.framework.api.rate import RateLimit
from serenity.framework.api.refusals import Forbidden, TooMany, Unknown
from serenity.wire.messages.tokens import Role, Token
from tests.manual_clock import ManualClock

TOKEN = Token(id="1", name="ci", role=Role.SUBMIT, users=("serenity-alice",), created_at=0.0, created_by="root")

# -- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["localhost", "localhost:1234", "LOCALHOST", "127.0.0.1", "127.9.9.9:80", "[::1]:86"])
@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0"])
def test_this_machine_by_any_of_its_names_is_answered(listen, host):
    assert Hosts.of(listen, ()).include(host)


@pytest.mark.parametrize("host", ["", "evil.example", "127.evil.example:8640", "localhost.evil.example", "[", "a:b"])
@pytest.mark.parametrize("listen", ["127.0.0.1", "0.0.0.0"])
def test_a_page_whose_name_was_made_to_mean_this_machine_gets_nothing(listen, host):
    assert not Hosts.of(listen, ("good.example",)).include(host)


def test_who_listens_for_others_is_called_by_addresses_and_given_names():
    assert not Hosts.of("127.0.0.1", ()).include("10.0.0.1")
    hosts = Hosts.of("10.0.0.1", ("Good.example",))
    assert all(hosts.include(each) for each in ("10.0.0.1:86", "[fe80::1]:86", "good.example:86", "GOOD.example."))


# -- the gate -----------------------------------------------------------------------------------


class Entrance:
    def __init__(self, per_s=10.0, burst=5.0):
        self.clock = ManualClock()
        limits = [RateLimit(per_s, burst, self.clock) for _ in range(2)]
        find = {"good": TOKEN}.get
        self.gate = Gate(find, Hosts.of("127.0.0.1", ()), "/run/s.sock", *limits)

    def enter(self, uid=None, **headers):
        headers = {"Host": "localhost:8640", **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.gate.enter(Peer(uid, "10.0.0.1"), headers)


def test_over_tcp_only_a_known_token_is_let_in():
    entrance = Entrance()
    assert entrance.enter(Authorization="bearer good").name == "token:ci"
    for headers in ({}, {"Authorization": "Basic Z29vZA=="}, {"Authorization": "good"}):
        with pytest.raises(Unknown, match=r"SERENITY_TOKEN.*serenity token create.*/run/s\.sock"):
            entrance.enter(**headers)
    with pytest.raises(Unknown, match="not known, or was revoked"):
        entrance.enter(Authorization="Bearer bad")


def test_over_the_socket_a_token_counts_before_the_user():
    entrance = Entrance()
    assert entrance.enter(uid=os.geteuid()).role is Role.ADMIN
    assert entrance.enter(uid=0, Authorization="Bearer good").role is Role.SUBMIT
    with pytest.raises(Unknown):
        entrance.enter(uid=0, Authorization="Bearer bad")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "http://localhost:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
@pytest.mark.parametrize("uid", [None, 0])
def test_a_page_of_another_origin_gets_nothing_even_with_a_token(uid, headers):
    with pytest.raises(Forbidden, match="page of"):
        Entrance().enter(uid, Authorization="Bearer good", **headers)


def test_a_page_of_ones_own_may_ask():
    own = {"Origin": "http://localhost:8640", "Sec_Fetch_Site": "same-origin"}
    assert Entrance().enter(Authorization="Bearer good", **own).name == "token:ci"


def test_whoever_asks_too_often_waits_and_the_operator_never():
    entrance = Entrance(per_s=10.0, burst=5.0)
    for _ in range(5):
        entrance.enter(Authorization="Bearer good")
    with pytest.raises(TooMany, match=r"token:ci asks too often; try again in 0\.1 s"):
        entrance.enter(Authorization="Bearer good")
    entrance.clock.advance(0.1)
    entrance.enter(Authorization="Bearer good")
    for _ in range(100):
        entrance.enter(uid=0)


def test_whoever_guesses_tokens_is_soon_not_even_told_that_they_are_wrong():
    entrance, refused = Entrance(), []
    for _ in range(10):
        with pytest.raises((Unknown, TooMany)) as caught:
            entrance.enter(Authorization="Bearer guess")
        refused.append(caught.type)
    assert refused == [Unknown] * 5 + [TooMany] * 5
    entrance.enter(Authorization="Bearer good")


# -- rate ---------------------------------------------------------------------------------------


def test_a_bucket_fills_up_to_its_burst_and_no_further():
    clock = ManualClock()
    limit = RateLimit(per_s=2.0, burst=3.0, clock=clock)
    assert [limit.take("a") > 0 for _ in range(4)] == [False, False, False, True]
    assert limit.take("a") == pytest.approx(0.5)
    assert limit.take("b") == 0.0, "everybody has a bucket of his own"
    clock.advance(1000.0)
    assert [limit.take("a") > 0 for _ in range(4)] == [False, False, False, True]


def test_in_the_long_run_it_is_the_rate():
    clock = ManualClock()
    limit, taken = RateLimit(per_s=5.0, burst=2.0, clock=clock), 0
    for _ in range(1000):
        taken += limit.take("a") == 0.0
        clock.advance(0.01)
    assert taken == pytest.approx(5.0 * 10.0 + 2.0, abs=1)
