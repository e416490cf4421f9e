"""The leading master through ZooKeeper; against a real one, where there is one."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.security import make_digest_acl

from serenity.wire.mesos.leader import LeadingMaster, leading_master
from serenity.wire.mesos.scheduler import SchedulerDriver
from serenity.wire.mesos.state import MasterReader
from serenity.wire.mesos.subscription import Backoff
from serenity.wire.mesos.zookeeper import leading_member, master_address
from serenity.wire.transport.access import Access
from serenity.wire.transport.endpoint import Endpoint
from serenity.wire.transport.http import Unreachable
from tests.wire.security.conftest import Authority
from tests.wire.security.zookeeper_server import Registration, ZooKeeperServer, find, master_info

QUICK = Backoff(first_s=0.01, max_s=0.05)
FRAMEWORK = {"user": "nobody", "name": "test", "roles": ["be"]}


# -- what is written there -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "leader"),
    [
        ([], None),
        (["log_replicas", "json.info_x"], None),
        (["json.info_0000000012", "json.info_0000000009", "log_replicas"], "json.info_0000000009"),
        (["json.info_0000000012", "info_0000000009"], "info_0000000009"),
        (["json.info_0000000012", "0000000003"], "0000000003"),
    ],
)
def test_the_lowest_number_leads(names: list[str], leader: str | None) -> None:
    assert leading_member(names) == leader


def test_a_master_is_called_by_address_or_under_tls_by_name() -> None:
    info = master_info("10.0.0.7:5050", "m1.example.org")
    assert master_address(info, tls=False) == Endpoint("10.0.0.7", 5050)
    assert master_address(info, tls=True) == Endpoint("m1.example.org", 5050, tls=True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[" * 100_000,
        b"\x0a\x24",
        b"[]",
        b"{}",
        b'{"address": []}',
        b'{"address": {"ip": 1, "port": 1}}',
        master_info("h:99999"),
    ],
)
def test_what_is_no_master_info_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"no (MasterInfo|address)"):
        master_address(data, tls=False)


# -- a real ZooKeeper ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZooKeeperServer]:
    program = find()
    if program is None:
        pytest.skip("no ZooKeeper: zkServer.sh is neither on PATH nor where Debian's zookeeperd has it")
    made = ZooKeeperServer(program, tmp_path_factory.mktemp("zookeeper"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def path() -> str:
    return f"/tests/{uuid.uuid4().hex}"


@pytest.fixture
def register(server: ZooKeeperServer, path: str) -> Iterator[Callable[..., Registration]]:
    with contextlib.ExitStack() as stack:

        def begin(address: str, **options: Any) -> Registration:
            made = Registration(server.address, path, master_info(address), **options)
            stack.callback(made.end)
            return made

        yield begin


@pytest.fixture
def watched() -> Iterator[Callable[..., LeadingMaster]]:
    made: list[LeadingMaster] = []

    def watch(url: str, access: Access | None = None) -> LeadingMaster:
        made.append(leading_master(url, access or Access()))
        made[-1].start(lambda: None)
        return made[-1]

    yield watch
    for each in made:
        each.close()


@pytest.fixture
def master(peer: Any, shape: Callable[[str], Any]) -> Iterator[Callable[[], Any]]:
    """Makes masters that take every framework."""
    with contextlib.ExitStack() as stack:

        def make() -> Any:
            made = type(peer)(greeting=shape("scheduler_events.json")[0], pages={"/slaves": {"slaves": []}})
            made.start()
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def scheduler(peer: Any) -> Iterator[Callable[..., SchedulerDriver]]:
    made: list[SchedulerDriver] = []

    def start(told: Any, url: str) -> SchedulerDriver:
        made.append(SchedulerDriver(told, FRAMEWORK, url, backoff=QUICK))
        made[-1].start()
        return made[-1]

    yield start
    for each in made:
        each.stop()


def found(leading: LeadingMaster) -> str:
    """Where, or why nobody knows."""
    try:
        return str(leading.find())
    except Unreachable as error:
        return str(error)


def test_a_path_that_is_not_there_yet_is_waited_for(
    server: ZooKeeperServer, path: str, watched: Any, register: Any, eventually: Callable[..., Any]
) -> None:
    leading = watched(f"zk://{server.address}{path}")
    assert eventually(lambda: found(leading) == f"no master has registered in zk://{server.address}{path} so far")
    client = KazooClient(server.address)
    client.start()
    client.create(path, makepath=True)
    assert eventually(lambda: found(leading) == f"no master is registered in zk://{server.address}{path}")
    client.stop()
    client.close()
    register("10.0.0.7:5050")
    assert eventually(lambda: found(leading) == "10.0.0.7:5050")


def test_of_several_servers_one_is_enough(
    server: ZooKeeperServer, path: str, watched: Any, register: Any, authority: Authority, eventually: Any
) -> None:
    register("10.0.0.7:5050")
    leading = watched(f"zk://127.0.0.1:1,nowhere.invalid:2181,{server.address}{path}", authority.access)
    assert eventually(lambda: found(leading) == "https://10.0.0.7:5050")


def test_the_stream_goes_to_the_leader_and_with_it(
    server: ZooKeeperServer,
    path: str,
    register: Any,
    master: Any,
    scheduler: Any,
    recorder: Any,
    eventually: Callable[..., Any],
) -> None:
    first, second, third = master(), master(), master()
    reign = register(first.address)
    register(second.address)
    driver = scheduler(recorder, f"zk://{server.address}{path}")
    eventually(lambda: "registered" in recorder.names())
    assert recorder.told[0][2]["port"] == first.port
    register(third.address)  # One more that waits is no reason to leave.
    reader = MasterReader(driver.leading)
    assert reader.agents() == [] and first.requests[-1].path == "/slaves"
    reign.end()
    eventually(lambda: "reregistered" in recorder.names())
    assert recorder.names() == ["registered", "disconnected", "reregistered"]
    assert recorder.told[-1][1]["port"] == second.port
    eventually(lambda: first.streams[0].left)
    driver.reviveOffers()
    assert len(second.sent("REVIVE")) == 1 and driver.subscribed
    assert reader.agents() == [] and second.requests[-1].path == "/slaves"


def test_the_password_opens_the_path_and_is_in_no_log(
    server: ZooKeeperServer,
    path: str,
    watched: Any,
    register: Any,
    eventually: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    acl = [make_digest_acl("mesos", "geheim", all=True)]
    register("10.0.0.7:5050", default_acl=acl, auth_data=[("digest", "mesos:geheim")])
    caplog.clear()  # That was the master's own client.
    stranger = watched(f"zk://{server.address}{path}")
    eventually(lambda: "may not read" in found(stranger))
    assert "USER:PASSWORD@" in found(stranger)
    known = watched(f"zk://mesos:geheim@{server.address}{path}")
    eventually(lambda: found(known) == "10.0.0.7:5050")
    assert "geheim" not in caplog.text + str(known) + repr(known)


@pytest.mark.parametrize(
    ("label", "data", "why"),
    [("info", b"\x0a", "is older than Mesos 0.24"), ("json.info", b"{}", "makes no sense: no MasterInfo")],
)
def test_a_leader_that_cannot_be_understood_is_said(
    server: ZooKeeperServer, path: str, watched: Any, label: str, data: bytes, why: str, eventually: Callable[..., Any]
) -> None:
    with contextlib.closing(KazooClient(server.address)) as client:
        client.start()
        client.create(f"{path}/{label}_", data, sequence=True, makepath=True)
        leading = watched(f"zk://{server.address}{path}")
        assert eventually(lambda: why in found(leading))
        client.stop()


PROGRAM = """
from gevent import monkey
monkey.patch_all()
import sys, time, gevent
from serenity.wire.mesos.scheduler import SchedulerDriver

class Scheduler:
    def __init__(self):
        self.told = []
    def __getattr__(self, name):
        return lambda *_: self.told.append(name)

scheduler = Scheduler()
driver = SchedulerDriver(scheduler, {"user": "nobody", "name": "gevent"}, sys.argv[1])
driver.start()
with gevent.Timeout(20):
    while "registered" not in scheduler.told:
        gevent.sleep(0.01)
    print("registered", flush=True)
    while "reregistered" not in scheduler.told:
        gevent.sleep(0.01)
    began = time.monotonic()
    driver.stop()
    assert time.monotonic() - began < 2, "stop waited"
print(" ".join(scheduler.told[1:]))
"""


def test_the_same_code_works_in_greenlets(server: ZooKeeperServer, path: str, register: Any, master: Any) -> None:
    reign = register(master().address)
    register(master().address)
    url = f"zk://{server.address}{path}"
    with subprocess.Popen([sys.executable, "-c", PROGRAM, url], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "registered\n"
        reign.end()
        assert run.stdout.read() == "disconnected reregistered\n"
    assert run.returncode == 0


def test_a_zookeeper_that_is_gone_costs_nobody_its_master(
    server: ZooKeeperServer,
    path: str,
    register: Any,
    master: Any,
    scheduler: Any,
    recorder: Any,
    eventually: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Stopped, then started without its memory: every session is lost."""
    leader, url = master(), f"zk://{server.address}{path}"
    register(leader.address)
    driver = scheduler(recorder, url)
    eventually(lambda: "registered" in recorder.names())
    server.stop()
    eventually(lambda: f"no ZooKeeper answers at {server.address}; it named {leader.address} last" in caplog.text)
    assert str(driver.leading.find()) == leader.address
    late = type(recorder)()
    waiting = scheduler(late, url)  # For this one it is down at the start.
    eventually(lambda: waiting.trouble == f"no ZooKeeper has answered yet at {server.address}")
    server.start()
    eventually(lambda: (waiting.trouble or "").startswith("no master has registered"))
    register(leader.address)
    eventually(lambda: late.names() == ["registered"])
    driver.reviveOffers()
    assert recorder.names() == ["registered"] and len(leader.streams) == 2
    said = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert sum(f"no subscription to the master at {url}: no ZooKeeper" in each for each in said) == 1
