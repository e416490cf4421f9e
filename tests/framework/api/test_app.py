"""The application without a server: what a connection cannot show in a test's time."""

from __future__ import annotations

import io
import os

import gevent
import pytest

from serenity.daemon.serving import PEER_UID
from serenity.framework.api import app as application
from serenity.framework.api.gate import Gate
from serenity.framework.api.hosts import Hosts
from serenity.framework.api.rate import RateLimit
from serenity.framework.api.token_file import TokenFile
from tests.manual_clock import ManualClock


@pytest.fixture
def client(tmp_path):
    """Of an operator, on routes that ask the framework nothing."""
    limit = RateLimit(10.0, 10.0, ManualClock())
    tokens = TokenFile(tmp_path / "tokens.json", ManualClock())
    gate = Gate(tokens.find, Hosts.of("localhost", ()), "/s", limit, limit)
    test_client = application.make_app(None, tokens, gate).test_client()
    test_client.environ_base[PEER_UID] = os.geteuid()
    return test_client


class Drops(io.RawIOBase):
    """A body of which a byte comes now and then."""

    def readable(self):
        return True

    def readinto(self, buffer):
        gevent.sleep(0.05)
        buffer[:1] = b" "
        return 1


def test_a_body_that_comes_drop_by_drop_is_not_waited_for(client, monkeypatch):
    monkeypatch.setattr(application, "_BODY_WITHIN_S", 0.2)
    body = {"wsgi.input": Drops(), "CONTENT_LENGTH": "1000", "CONTENT_TYPE": "application/json"}
    answer = client.post("/v1/tokens", environ_overrides=body)
    assert answer.status_code == 408 and "did not come within" in answer.json["error"]


def test_who_is_not_said_is_nobody(client):
    """Fails closed: a server that does not say who calls lets in nobody."""
    del client.environ_base[PEER_UID]
    assert client.get("/v1/tokens").status_code == 500


def test_a_bug_is_said_in_a_line_and_its_traceback_is_in_the_log(client, caplog):
    answer = client.get("/v1/jobs")  # There is no framework to ask.
    assert answer.status_code == 500 and "this is a bug in Serenity (AttributeError)" in answer.json["error"]
    assert "Traceback" in caplog.text


def test_another_method_is_refused_with_those_that_there_are(client):
    answer = client.put("/v1/tokens", json={})
    assert answer.status_code == 405 and set(answer.headers["Allow"].split(", ")) >= {"GET", "POST"}
    assert "error" in answer.json


def test_one_is_told_who_one_is(client):
    assert client.get("/v1/me").json["role"] == "admin"
