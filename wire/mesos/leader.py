"""Where the leading master is: at a configured address, or where ZooKeeper says.

Every caller of the master uses a `LeadingMaster`, through `at_the_leader`, which follows the redirects of masters that
do not lead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from serenity.wire.transport.access import ANONYMOUS, Access
from serenity.wire.transport.endpoint import Endpoint
from serenity.wire.transport.http import HttpError, Unreachable

DEFAULT_PORT = 5050
_ZOOKEEPER = "zk://"
_FILE = "file://"
_MAX_REDIRECTS = 5

T = TypeVar("T")


class LeadingMaster(Protocol):
    """A source of the leading master's address.  Any thread may ask; people are shown its `str`."""

    @property
    def changes(self) -> int:
        """How often another master has taken over so far, as far as is known without asking masters."""

    def start(self, changed: Callable[[], None]) -> None:
        """From now on `changed` is called, in a thread of this object, when another master has taken over."""

    def find(self) -> Endpoint:
        """The master to ask first.  Raises Unreachable, in words, while none is known."""

    def answered(self, endpoint: Endpoint | None) -> None:
        """Told which master, of those that `find` led to, answered in the end; None: none did."""

    def close(self) -> None: ...


def leading_master(address: str, access: Access = ANONYMOUS) -> LeadingMaster:
    """The LeadingMaster for an address in the forms that Mesos' agents take.

    ``host:port`` or a URL of one master; ``zk://[user:password@]host:port,…/path``; or
    ``file:///path`` of a file with one of these.  Masters that ZooKeeper names are taken to speak
    TLS if `access` has a TLS context.

    Raises:
        ValueError: `address` is none of them, in words for a user.
    """
    if address.startswith(_FILE):
        address = _read(address.removeprefix(_FILE))
    if address.startswith(_ZOOKEEPER):
        from serenity.wire.mesos.zookeeper import ZooKeeperMaster  # Few need it, and it takes a while to import.

        return ZooKeeperMaster(address, tls=access.tls is not None)
    endpoint = Endpoint.parse(address, DEFAULT_PORT)
    if endpoint.unix_path is not None:
        raise ValueError(f"{address!r} is no master's address; write HOST:PORT or zk://HOST:PORT,HOST:PORT/PATH")
    return FixedMaster(endpoint)


class FixedMaster:
    """A master with a fixed address.  The master that it last redirected to is asked first, while that answers."""

    changes = 0

    def __init__(self, endpoint: Endpoint) -> None:
        self._configured = endpoint
        self._last = endpoint

    def __str__(self) -> str:
        return str(self._configured)

    def start(self, changed: Callable[[], None]) -> None:
        """Nothing to watch: a master that no longer leads says so itself."""

    def find(self) -> Endpoint:
        return self._last

    def answered(self, endpoint: Endpoint | None) -> None:
        self._last = endpoint or self._configured

    def close(self) -> None:
        """Nothing to close."""


def at_the_leader(leading: LeadingMaster, ask: Callable[[Endpoint], T]) -> tuple[T, Endpoint]:
    """The answer of the leading master, and where that master is.

    `ask` raises HttpError for a redirect; its other errors are passed on.

    Raises:
        Unreachable: the leader is not known, or masters redirect in a circle.
    """
    first = endpoint = leading.find()
    for _ in range(_MAX_REDIRECTS):
        try:
            answer = ask(endpoint)
        except HttpError as error:
            leading.answered(None)
            if error.status != 307 or not error.headers.get("location"):
                raise
            endpoint = redirected(endpoint, error.headers["location"])
        except Unreachable:
            leading.answered(None)
            raise
        else:
            leading.answered(endpoint)
            return answer, endpoint
    raise Unreachable(f"{first} redirects in a circle")


def redirected(origin: Endpoint, location: str) -> Endpoint:
    """The master that `origin` redirects to: ``//host:port``, as Mesos writes it, or a URL; any path is the call's own.

    Raises:
        Unreachable: it is no address, or has no TLS while `origin` has: a secret would be sent in the clear.
    """
    try:
        found = Endpoint.parse(location, DEFAULT_PORT)
    except ValueError as error:
        raise Unreachable(f"{origin} redirects to no address: {error}") from error
    if origin.tls and location.lower().startswith("http:"):
        raise Unreachable(f"{origin} redirects to {found}, which has no TLS; not followed")
    return replace(found, prefix="", tls=found.tls or origin.tls)


def _read(path: str) -> str:
    """Raises ValueError."""
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text") from None
