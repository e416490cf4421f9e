"""The leading master as ZooKeeper knows it.

Each master that wants to lead keeps an ephemeral sequential node ``json.info_0000000007`` under
the path; the master with the lowest number leads.  Source: Mesos ``src/master/detector/zookeeper.cpp``,
``src/zookeeper/group.cpp``.

Unlike Mesos' own detector (and pymesos') this one never gives up: it waits while there is no ZooKeeper, while the path
is not there yet, and while a session is lost.  The last known leader counts until there is better knowledge: we do
not leave a master that answers because ZooKeeper does not.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoAuthError, NoNodeError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry

from serenity.wire.transport.endpoint import Endpoint, without_credentials
from serenity.wire.transport.http import Unreachable

logger = logging.getLogger(__name__)
# kazoo would log the password (at DEBUG), and a line for each attempt (at WARNING); our own logger says it once.
_kazoo_logger = logging.getLogger(f"{__name__}.kazoo")
_kazoo_logger.setLevel(logging.ERROR)

DEFAULT_PORT = 2181
_SESSION_S = 10.0  # As in masters and agents.
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.1, 2.0
# Watches report every change; this is for a watch that a server forgot.
_LOOK_EVERY_S = 60.0
# How long `find` waits for the first answer.
_PATIENCE_S = 1.0
_MEMBER = re.compile(r"(?:(?P<label>.+)_)?(?P<number>\d{10})")
_JSON_LABEL = "json.info_"


@dataclass(frozen=True, slots=True)
class ZooKeeperUrl:
    """``zk://[user:password@]host[:port],host[:port]…/path``"""

    servers: str  # In kazoo's form.
    path: str
    credentials: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> ZooKeeperUrl:
        """Raises ValueError, in words for a user, without the credentials."""
        before, at, rest = text.removeprefix("zk://").rpartition("@")
        servers, slash, path = rest.partition("/")
        path = slash + path.rstrip("/")
        try:
            endpoints = [Endpoint.parse(each, DEFAULT_PORT) for each in servers.split(",")]
        except ValueError:
            endpoints = []
        credentials_fit = not at or (before.partition(":")[0] and before.partition(":")[2])
        if not endpoints or len(path) < 2 or "//" in path or not credentials_fit:
            raise ValueError(
                f"{without_credentials(text)!r} is no ZooKeeper address; write zk://HOST:PORT,HOST:PORT/PATH"
                " or zk://USER:PASSWORD@HOST:PORT,HOST:PORT/PATH, with the path that masters have in --zk"
            )
        return cls(",".join(map(str, endpoints)), path, before or None)

    def __str__(self) -> str:
        return f"zk://{self.servers}{self.path}"


class ZooKeeperMaster:
    """A `leader.LeadingMaster`.  Asks ZooKeeper in a thread of its own, from `start` to `close`.

    `tls`: whether masters speak TLS, which ZooKeeper does not say.

    Raises:
        ValueError: `url` is no ZooKeeper URL.
    """

    def __init__(self, url: str, tls: bool) -> None:
        self._url = ZooKeeperUrl.parse(url)
        self._tls = tls
        self.changes = 0
        self._leader: Endpoint | None = None  # As far as we know.
        self._last_leader: Endpoint | None = None  # Kept while none is known.
        self._answered = threading.Event()  # Set once ZooKeeper has answered.
        self._why_unknown = f"no ZooKeeper has answered yet at {self._url.servers}"
        self._connected = False
        self._changed: Callable[[], None] = lambda: None
        self._woken = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leading master", daemon=True)

    def __str__(self) -> str:
        return str(self._url)

    def start(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._thread.start()

    def find(self) -> Endpoint:
        self._answered.wait(_PATIENCE_S)
        leader = self._leader
        if leader is None:
            raise Unreachable(self._why_unknown)
        return leader

    def answered(self, endpoint: Endpoint | None) -> None:
        """Ignored: ZooKeeper knows better than a master that redirects."""

    def close(self) -> None:
        self._closing.set()
        self._woken.set()

    # -- in the thread -------------------------------------------------------------------------

    def _run(self) -> None:
        client = KazooClient(
            self._url.servers,
            timeout=_SESSION_S,
            auth_data=[("digest", self._url.credentials)] if self._url.credentials else [],
            connection_retry=KazooRetry(max_tries=-1, delay=_FIRST_PAUSE_S, max_delay=_MAX_PAUSE_S),
            logger=_kazoo_logger,
        )
        client.add_listener(self._wake)
        client.start_async()
        while not self._closing.is_set():
            self._woken.clear()
            self._look(client)
            self._woken.wait(_LOOK_EVERY_S)
        with contextlib.suppress(KazooException):  # The client may be busy connecting, and then ends a little later.
            client.stop()
            client.close()

    def _wake(self, _news: object) -> None:
        """Called by kazoo when the state of the connection has changed, or the path."""
        self._woken.set()

    def _look(self, client: KazooClient) -> None:
        """Reads the leader from ZooKeeper, and sets watches for changes."""
        if client.connected != self._connected:
            self._tell_connected(client.connected)
        if not self._connected:
            return  # What was known last still counts.
        try:
            leader, why_unknown = self._ask(client)
        except NoAuthError:
            leader, why_unknown = None, f"may not read {self}; give the USER:PASSWORD@ that masters have in --zk"
        except (KazooException, KazooTimeoutError) as error:
            logger.info("ZooKeeper at %s did not answer: %r", self._url.servers, error)
            return  # The connection has broken, and the listener will say so.
        self._settle(leader, why_unknown)

    def _ask(self, client: KazooClient) -> tuple[Endpoint | None, str]:
        """The leader, or None and why it is not known."""
        path = self._url.path
        try:
            names = client.get_children_async(path, self._wake).get(timeout=_SESSION_S)
            member = leading_member(names)
            if member is None:
                return None, f"no master is registered in {self}"
            if not member.startswith(_JSON_LABEL):
                return None, f"the leading master, {member} in {self}, is older than Mesos 0.24"
            return master_address(client.get_async(f"{path}/{member}").get(timeout=_SESSION_S)[0], self._tls), ""
        except NoNodeError:
            if client.exists_async(path, self._wake).get(timeout=_SESSION_S) is not None:
                self._woken.set()  # It was the leader's node that is gone, or the path was made meanwhile.
            return None, f"no master has registered in {self} so far"
        except ValueError as error:
            return None, f"what the leading master wrote in {self} makes no sense: {error}"

    def _settle(self, leader: Endpoint | None, why_unknown: str) -> None:
        if (leader, why_unknown) != (self._leader, self._why_unknown):
            logger.info("the leading master is %s, says %s", leader, self) if leader else logger.info("%s", why_unknown)
        self._leader, self._why_unknown = leader, why_unknown
        if leader is not None:
            before, self._last_leader = self._last_leader, leader
            if before not in (None, leader):
                self.changes += 1
                self._changed()
        self._answered.set()

    def _tell_connected(self, connected: bool) -> None:
        self._connected = connected
        if connected:
            logger.info("connected to ZooKeeper at %s", self._url.servers)
            return
        self._why_unknown = f"no ZooKeeper answers at {self._url.servers}"
        logger.warning("%s; it named %s last", self._why_unknown, self._leader or "no leading master")


def leading_member(names: Iterable[str]) -> str | None:
    """The leading master's node: among the masters' nodes the one with the lowest number."""
    members = [(int(match["number"]), name) for name in names if (match := _MEMBER.fullmatch(name))]
    return min(members)[1] if members else None


def master_address(data: bytes, tls: bool) -> Endpoint:
    """Where the master of a MasterInfo in JSON is.  By host name for TLS, as certificates are for names; else by IP.

    Raises:
        ValueError: `data` is no such MasterInfo.
    """
    try:
        address = json.loads(data)["address"]
        host, port = (address.get("hostname") if tls else None) or address["ip"], address["port"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no MasterInfo with an address: {data[:200]!r}") from error
    if not isinstance(host, str) or not isinstance(port, int) or not 0 < port < 65536:
        raise ValueError(f"no address: {address!r}")
    return Endpoint(host, port, tls=tls)
