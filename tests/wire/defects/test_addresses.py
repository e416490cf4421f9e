"""Where the master is: addresses that plain pymesos does not understand, and ZooKeeper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.wire.defects.driven import FRAMEWORK, NotSeen, Program, Raised, fails_on_plain
from tests.wire.security.zookeeper_server import Registration, ZooKeeperServer, find, master_info


@fails_on_plain("neither IPv6 addresses nor TLS: ValueError", Raised)
@pytest.mark.parametrize("address", ["[::1]:1", "https://localhost:1"])
def test_an_address_of_ipv6_or_with_tls_is_taken(start: Callable[[], Program], address: str) -> None:
    program = start()
    program.scheduler(address)
    program.survives(for_s=0.05)
    assert program.names() == []


@fails_on_plain("start() waits for ZooKeeper, and raises when it does not come within 15 s", NotSeen)
def test_starting_does_not_wait_for_zookeeper(start: Callable[[], Program]) -> None:
    program = start()
    program.order("scheduler", master="zk://127.0.0.1:1/mesos", framework=FRAMEWORK, raises_in=[])
    program.eventually(program.begin("start"), "the end of start()")
    program.survives(for_s=0.05)
    assert program.names() == []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeperServer]:
    program = find()
    if program is None:
        pytest.skip("no ZooKeeper: zkServer.sh is neither on PATH nor where Debian's zookeeperd has it")
    made = ZooKeeperServer(program, tmp_path_factory.mktemp("zookeeper"))
    made.start()
    yield made
    made.stop()


@fails_on_plain("a path that is not there yet stops the detector for good", NotSeen)
def test_a_path_that_is_not_there_yet_is_looked_at_again(
    master: Any, kind: str, start: Callable[[], Program], server: ZooKeeperServer
) -> None:
    program = start()
    program.scheduler(f"zk://{server.address}/{kind}")
    registration = Registration(server.address, f"/{kind}", master_info(master.address))
    try:
        assert program.eventually(lambda: "registered" in program.names())
    finally:
        registration.end()
