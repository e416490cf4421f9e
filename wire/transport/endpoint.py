"""Where a server is, as people write it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

_VISIBLE = re.compile(r"[!-~\u00a1-\uffff]+")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``host:port``, ``http://host:port[/prefix]``, ``https://…`` or ``unix:/path/of.sock``.

    An IPv6 address stands in brackets, ``[::1]:5050``; `host` is without them.
    """

    host: str
    port: int
    prefix: str = ""
    unix_path: str | None = None
    tls: bool = False

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> Endpoint:
        """Raises ValueError, in words for a user, if `text` has none of these forms."""
        scheme, _, path = text.partition(":")
        if scheme == "unix" and path.startswith("/"):
            return cls("localhost", 0, unix_path=path)
        try:
            url = urlsplit(text if "//" in text or scheme == "unix" else f"//{text}")
            port = default_port if url.port is None else url.port
            host = url.hostname or ""
            host.encode("idna")  # Raises now what the resolver would raise later, where nobody expects it.
        except ValueError:
            raise _no_address(text) from None
        known = url.scheme in ("", "http", "https") and "@" not in url.netloc
        if not host or not port or not known or not _VISIBLE.fullmatch(host):
            raise _no_address(text)
        return cls(host, port, url.path.rstrip("/"), tls=url.scheme == "https")

    def __str__(self) -> str:
        """The shortest text from which `parse` makes the same endpoint, except for the prefix."""
        return f"unix:{self.unix_path}" if self.unix_path is not None else self.url.removeprefix("http://")

    @property
    def url(self) -> str:
        """The server's URL, without the prefix."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


def without_credentials(address: str) -> str:
    """For people and logs: ``zk://user:password@host/path`` with neither user nor password."""
    before, at, after = address.rpartition("@")
    scheme = before[: before.find("//") + 2] if "//" in before else ""
    return scheme + after if at else address


def _no_address(text: str) -> ValueError:
    return ValueError(
        f"{without_credentials(text)!r} is no address; write HOST:PORT, http://HOST:PORT, https://HOST:PORT"
        " or unix:/PATH; an IPv6 address stands in brackets"
    )
