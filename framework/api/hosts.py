"""By which names the API may be called: those of this machine, and those that the operator has added.

A page on the internet may have its name resolve to this machine, and is then, for its visitor's browser, of the
same origin as the API.  What it cannot change is the name, which the browser sends as Host.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from urllib.parse import urlsplit

from serenity.framework.settings import is_loopback


@dataclass(frozen=True, slots=True)
class Hosts:
    """`names` in lower case; `addresses`: whether any IP address will do, too: no page's name can be one."""

    names: frozenset[str]
    addresses: bool

    @classmethod
    def of(cls, listen_host: str, more: tuple[str, ...]) -> Hosts:
        """The names of a server that listens on that host."""
        names = {"localhost", listen_host, *more}
        others = not is_loopback(listen_host)
        if others:
            names |= {socket.gethostname(), socket.getfqdn()}
        return cls(frozenset(each.lower() for each in names), addresses=others)

    def include(self, header: str) -> bool:
        """Whether a Host header names one of them."""
        try:
            name = (urlsplit(f"//{header}").hostname or "").rstrip(".")
        except ValueError:
            return False
        return name in self.names or is_loopback(name) or (self.addresses and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
