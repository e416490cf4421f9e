"""An executor whose agent speaks TLS, as libprocess' variables say."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from serenity.wire.mesos.executor import ExecutorDriver
from serenity.wire.mesos.state import AgentReader
from serenity.wire.transport.access import ANONYMOUS, Access
from serenity.wire.transport.libprocess import agent_access, agent_endpoint
from serenity.wire.transport.trust_files import UnusableFile
from tests.wire.security.conftest import Authority
from tests.wire.security.fronts import Front

TOKEN = "MESOS_EXECUTOR_AUTHENTICATION_TOKEN"


@pytest.fixture
def environ(shape: Callable[[str], Any]) -> dict[str, str]:
    """As an agent makes it whose ``--executor_environment_variables`` say that it speaks TLS."""
    return {**shape("executor.json")["environ"], "LIBPROCESS_SSL_ENABLED": "1"}


@pytest.fixture
def agent(
    peer: Any, environ: dict[str, str], front: Callable[..., Front], shape: Callable[[str], Any]
) -> Callable[..., Front]:
    """Puts TLS before the agent."""
    peer.greeting = next(each for each in shape("executor.json")["events"] if each["type"] == "SUBSCRIBED")

    def speak(*arguments: Any) -> Front:
        made = front(peer.address, *arguments)
        environ["MESOS_AGENT_ENDPOINT"] = made.address
        return made

    return speak


@pytest.fixture
def start(recorder: Any, environ: dict[str, str]) -> Iterator[Callable[..., ExecutorDriver]]:
    made: list[ExecutorDriver] = []

    def begin(given: Access = ANONYMOUS) -> ExecutorDriver:
        made.append(ExecutorDriver(recorder, environ, agent_access(environ, given)))
        made[-1].start()
        return made[-1]

    yield begin
    for each in made:
        each.stop()


def test_without_verification_any_agent_will_do_and_that_is_said(
    agent: Any,
    start: Callable[..., ExecutorDriver],
    environ: dict[str, str],
    peer: Any,
    stranger: Authority,
    recorder: Any,
    eventually: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As Mesos' own executors do, whose default it is."""
    agent(stranger.server("elsewhere.example.org"))
    environ[TOKEN] = "t0k3n"
    driver = start()
    eventually(lambda: "registered" in recorder.names())
    driver.sendStatusUpdate({"task_id": {"value": "t"}, "state": "TASK_RUNNING"})
    assert [each.headers["authorization"] for each in peer.requests] == ["Bearer t0k3n"] * 2
    assert TOKEN not in environ
    said = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(said) == 1 and "not verified: set LIBPROCESS_SSL_VERIFY_SERVER_CERT" in said[0]


@pytest.mark.parametrize("verify", ["VERIFY_SERVER_CERT", "VERIFY_CERT", "REQUIRE_CERT"])
def test_with_verification_only_the_agent_s_own_address_will_do(
    agent: Any,
    start: Callable[..., ExecutorDriver],
    environ: dict[str, str],
    authority: Authority,
    recorder: Any,
    eventually: Callable[..., Any],
    verify: str,
) -> None:
    environ |= {
        f"LIBPROCESS_SSL_{verify}": "true",
        "LIBPROCESS_SSL_CA_FILE": authority.ca_file,
        "LIBPROCESS_SSL_VERIFY_IPADD": "1",
    }
    agent(authority.server("127.0.0.1"))
    start()
    eventually(lambda: "registered" in recorder.names())
    assert str(agent_endpoint(environ)) == f"https://{environ['MESOS_AGENT_ENDPOINT']}"


def test_an_agent_that_is_not_trusted_is_not_spoken_to(
    agent: Any,
    start: Callable[..., ExecutorDriver],
    environ: dict[str, str],
    peer: Any,
    authority: Authority,
    stranger: Authority,
    eventually: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    environ |= {"LIBPROCESS_SSL_VERIFY_SERVER_CERT": "1", "LIBPROCESS_SSL_CA_FILE": authority.ca_file}
    agent(stranger.server())
    start()
    eventually(lambda: "is not trusted" in caplog.text)
    assert peer.requests == []


def test_under_mesos_legacy_scheme_the_name_of_the_agent_s_address_counts(
    agent: Any,
    start: Callable[..., ExecutorDriver],
    environ: dict[str, str],
    authority: Authority,
    recorder: Any,
    eventually: Callable[..., Any],
) -> None:
    try:
        name = socket.gethostbyaddr("127.0.0.1")[0]
    except OSError:
        pytest.skip("127.0.0.1 resolves to no name here")
    environ |= {"LIBPROCESS_SSL_VERIFY_SERVER_CERT": "1", "LIBPROCESS_SSL_CA_FILE": authority.ca_file}
    agent(authority.server(name))
    start()
    eventually(lambda: "registered" in recorder.names())
    environ["LIBPROCESS_SSL_HOSTNAME_VALIDATION_SCHEME"] = "openssl"
    assert agent_access(environ, ANONYMOUS).server_name is None


def test_our_own_setting_goes_before_the_variables(
    agent: Any,
    start: Callable[..., ExecutorDriver],
    environ: dict[str, str],
    peer: Any,
    authority: Authority,
    recorder: Any,
    eventually: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    agent(authority.server("127.0.0.1"))
    start(authority.access)
    eventually(lambda: "registered" in recorder.names())
    peer.pages["/version"] = {"version": "1.11.0"}
    assert AgentReader(str(agent_endpoint(environ)), access=authority.access).version() == "1.11.0"
    assert "not verified" not in caplog.text


def test_an_agent_that_wants_a_certificate_gets_libprocess_one(
    agent: Any,
    start: Callable[..., ExecutorDriver],
    environ: dict[str, str],
    authority: Authority,
    recorder: Any,
    eventually: Callable[..., Any],
) -> None:
    cert, key = authority.client_files()
    environ |= {"LIBPROCESS_SSL_CERT_FILE": cert, "LIBPROCESS_SSL_KEY_FILE": key}
    agent(authority.server(clients=True))
    start()
    assert eventually(lambda: "registered" in recorder.names())


def test_without_libprocess_tls_an_agent_speaks_plain_http(environ: dict[str, str]) -> None:
    for off in ("0", "false", ""):
        environ["LIBPROCESS_SSL_ENABLED"] = off
        assert not agent_endpoint(environ).tls and agent_access(environ, ANONYMOUS) is ANONYMOUS
    del environ["LIBPROCESS_SSL_ENABLED"]
    assert not agent_endpoint(environ).tls
    environ |= {"SSL_ENABLED": "true", "SSL_CERT_FILE": "/none"}  # As before Mesos 1.0, and taken still.
    assert agent_endpoint(environ).tls
    with pytest.raises(UnusableFile, match="client_cert: cannot read /none"):
        agent_access(environ, ANONYMOUS)
