from __future__ import annotations

import contextlib
import socket
import threading
import time

import pytest

from serenity.daemon.clock import SystemClock
from serenity.qos.sources import memcached
from serenity.qos.sources.exchange import MAX_ANSWER_BYTES, ExchangeError, Exchanges
from serenity.qos.sources.indicator import Declaration, Indicator, IndicatorError, declaration

LABELS = {
    "serenity.sli.kind": "memcached",
    "serenity.sli.address": "127.0.0.1:11211",
    "serenity.sli.metric": "cmd_get+cmd_set",
    "serenity.sli.as": "rate",
    "serenity.sli.better": "higher",
    "serenity.sli.unit": "ops/s",
}


def changed(**labels):
    return {**LABELS, **{f"serenity.sli.{key.rstrip('_')}": value for key, value in labels.items()}}


# --- what labels declare ---


def test_a_declaration():
    assert declaration({**LABELS, "team": "search"}, ()) == Declaration(
        "memcached",
        ("127.0.0.1", 11211),
        ("cmd_get", "cmd_set"),
        "rate",
        Indicator("cmd_get+cmd_set", "ops/s", "higher"),
    )
    assert declaration({"team": "search"}, ()) is None


@pytest.mark.parametrize(
    ("address", "is_ours"),
    [
        ("127.0.0.1:1", ("127.0.0.1", 1)),
        ("localhost:1", ("127.0.0.1", 1)),
        ("[::1]:1", ("::1", 1)),
        ("10.0.0.7:80", ("10.0.0.7", 80)),
    ],
)
def test_addresses_of_this_node(address, is_ours):
    found = declaration(changed(address=address), {"10.0.0.7"})
    assert found is not None
    assert found.address == is_ours


@pytest.mark.parametrize(
    "address",
    ["10.0.0.8:80", "169.254.169.254:80", "example.org:80", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", ""],
)
def test_any_other_address_is_refused(address):
    with pytest.raises(IndicatorError, match="address"):
        declaration(changed(address=address), {"10.0.0.7"})


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (changed(kind="exec"), "kind"),
        (changed(as_="sum"), "as"),
        (changed(better="bigger"), "better"),
        (changed(metric="a++b"), "metric"),
        (changed(command="rm"), "command is unknown"),
        ({"serenity.sli.kind": "memcached"}, "is missing"),
    ],
)
def test_what_cannot_be_followed_is_refused(labels, says):
    with pytest.raises(IndicatorError, match=says):
        declaration(labels, ())


def test_memcached_statistics():
    answer = b"STAT version 1.6.9 (a b)\r\nSTAT cmd_get 40\r\nSTAT cmd_set 2\r\nEND\r\n"
    assert memcached.complete(answer)
    assert not memcached.complete(answer[:-1])
    assert memcached.value(answer, ["cmd_get", "cmd_set"]) == 42.0
    with pytest.raises(ValueError, match="no_such"):
        memcached.value(answer, ["no_such"])
    with pytest.raises(ValueError, match="did not answer"):
        memcached.value(b"ERROR\r\n", ["cmd_get"])


# --- asking without waiting ---


class Service:
    """Answers each question on a connection by `behave(connection, number of the question)`."""

    def __init__(self, behave):
        self.behave = behave
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        number = 0
        with contextlib.suppress(OSError), connection:
            while connection.recv(4096):
                number += 1
                self.behave(connection, number)


@pytest.fixture
def service():
    services = []

    def start(behave):
        services.append(Service(behave))
        return services[-1]

    yield start
    for each in services:
        each.listener.close()


@pytest.fixture
def exchanges():
    made = Exchanges(SystemClock(), timeout_s=0.3)
    yield made
    made.close()


def ask(exchanges, address, name="a"):
    exchanges.ask(name, address, b"stats\r\n", memcached.complete)


def test_an_answer_on_a_kept_connection(service, exchanges):
    asked = service(lambda connection, number: connection.sendall(b"STAT n %d\r\nEND\r\n" % number))
    for number in (1, 2, 3):
        ask(exchanges, asked.address)
        assert exchanges.collect(2.0)["a"].content == b"STAT n %d\r\nEND\r\n" % number
    assert asked.connections == 1


def test_a_late_answer_is_in_the_next_collection_with_its_own_time(service, exchanges):
    def late(connection, number):
        time.sleep(0.15)
        connection.sendall(b"END\r\n")

    ask(exchanges, service(late).address)
    asked_at = time.monotonic()
    assert exchanges.collect(0.05) == {}
    assert time.monotonic() - asked_at < 0.13
    assert exchanges.collect(2.0)["a"].at_s - asked_at >= 0.1


def test_silence_ends_the_connection_and_a_new_question_comes_on_another(service, exchanges):
    silent = service(lambda connection, number: None)
    ask(exchanges, silent.address)
    assert exchanges.collect(0.01) == {}
    time.sleep(0.3)
    ask(exchanges, silent.address)
    answer = exchanges.collect(0.0)["a"].content
    assert isinstance(answer, ExchangeError)
    assert "no answer within 0.3 s" in str(answer)
    deadline = time.monotonic() + 5
    while silent.connections < 2:
        assert time.monotonic() < deadline
        exchanges.collect(0.01)


def test_one_bad_service_does_not_keep_the_others_from_answering(service, exchanges):
    ask(exchanges, service(lambda connection, number: connection.close()).address, "closes")
    ask(exchanges, service(lambda c, n: c.sendall(b"x" * (MAX_ANSWER_BYTES + 1))).address, "floods")
    ask(exchanges, service(lambda connection, number: None).address, "silent")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        refusing = nobody.getsockname()
    ask(exchanges, refusing, "refuses")
    ask(exchanges, service(lambda c, n: c.sendall(b"END\r\n")).address, "well")
    answers = exchanges.collect(0.3)
    assert answers["well"].content == b"END\r\n"
    assert "closed" in str(answers["closes"].content)
    assert str(MAX_ANSWER_BYTES) in str(answers["floods"].content)
    assert "refused" in str(answers["refuses"].content)
    assert "silent" not in answers


def test_what_is_gone_is_closed(service, exchanges):
    asked = service(lambda c, n: c.sendall(b"END\r\n"))
    ask(exchanges, asked.address)
    exchanges.collect(2.0)
    exchanges.keep([])
    ask(exchanges, asked.address)
    exchanges.collect(2.0)
    assert asked.connections == 2
