"""Who gets in: by which name the API was called, from what page, by whom, and how often.

A browser is the one client that acts for others than its user: any page that it shows can have it send requests.
So a page must not reach this API under a name of its own (Host), nor from another origin (Origin, Sec-Fetch-Site),
nor with a form (every body is JSON, by its Content-Type).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from serenity.framework.api.callers import Caller, by_socket, by_token
from serenity.framework.api.hosts import Hosts
from serenity.framework.api.rate import RateLimit
from serenity.framework.api.refusals import BadRequest, Forbidden, TooMany, Unknown
from serenity.wire.messages.tokens import Token

_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection: who called over the Unix socket, or else the address that called."""

    uid: int | None
    address: str


class Gate:
    def __init__(
        self,
        find_token: Callable[[str], Token | None],
        hosts: Hosts,
        socket_path: str,
        callers: RateLimit,
        strangers: RateLimit,
    ) -> None:
        """`callers`: how often a known caller may ask; `strangers`: how often an address may ask as nobody known."""
        self._find_token = find_token
        self._hosts = hosts
        self._socket_path = socket_path
        self._callers = callers
        self._strangers = strangers
        self._own_uid = os.geteuid()

    def enter(self, peer: Peer, headers: Mapping[str, str]) -> Caller:
        """Raises BadRequest, Forbidden, Unknown or TooMany."""
        host = headers.get("Host", "")
        if peer.uid is None and not self._hosts.include(host):
            raise BadRequest(f"Host is {host!r}, and this API is not called that; host_names in [framework] adds names")
        _check_page(host, headers)
        caller = self._caller(peer, headers.get("Authorization", ""))
        if not caller.operator:
            _count(self._callers, caller.name, f"{caller.name} asks too often")
        return caller

    def _caller(self, peer: Peer, authorization: str) -> Caller:
        if authorization[: len(_BEARER)].lower() == _BEARER:
            token = self._find_token(authorization[len(_BEARER) :].strip())
            if token is not None:
                return by_token(token)
            _count(self._strangers, peer.address, "too many unknown tokens from this address")
            raise Unknown("this token is not known, or was revoked; `serenity token create` makes a new one")
        if peer.uid is not None:
            return by_socket(peer.uid, self._own_uid)
        _count(self._strangers, peer.address, "too many requests without a token from this address")
        raise Unknown(
            "over TCP this API wants a token: SERENITY_TOKEN, or token_file in the profile's [client];"
            f" `serenity token create` makes one on the framework's machine, where {self._socket_path} needs none"
        )


def _check_page(host: str, headers: Mapping[str, str]) -> None:
    origin = headers.get("Origin")
    if origin is not None and _netloc(origin) != host:
        raise Forbidden(f"a page of {origin!r} may not use this API")
    if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise Forbidden("a page of another site may not use this API")


def _netloc(origin: str) -> str | None:
    """``host:port`` of an origin; None for what is no origin, such as ``null``."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


def _count(limit: RateLimit, who: str, text: str) -> None:
    wait_s = limit.take(who)
    if wait_s > 0:
        raise TooMany(f"{text}; try again in {max(wait_s, 0.1):.1f} s", wait_s)
