"""How a server is spoken to: whom we believe it to be, and who we say we are."""

from __future__ import annotations

import dataclasses
import ssl
from dataclasses import dataclass, field
from typing import Protocol

from serenity.wire.transport.credentials import read_credential
from serenity.wire.transport.tls import client_context


@dataclass(frozen=True, slots=True)
class Access:
    """What goes with every request; one of these serves any number of servers and threads.

    Attributes:
        tls: for servers that speak it; None: the system's authorities, and no certificate of ours.
        authorization: the Authorization header.
        principal: whom that header names.
        server_name: what a server's certificate must be for, if not for the host that is called.
    """

    tls: ssl.SSLContext | None = None
    authorization: str | None = field(default=None, repr=False)
    principal: str | None = None
    server_name: str | None = None

    def with_token(self, token: str | None) -> Access:
        """With a bearer token (RFC 6750), or nothing, in place of who we are otherwise."""
        return dataclasses.replace(self, authorization=f"Bearer {token}" if token else None, principal=None)


ANONYMOUS = Access()


class AccessSettings(Protocol):
    """The settings of a daemon that say how it speaks to Mesos; each names a file or a person, none a secret."""

    @property
    def ca_file(self) -> str | None: ...
    @property
    def client_cert(self) -> str | None: ...
    @property
    def client_key(self) -> str | None: ...
    @property
    def principal(self) -> str | None: ...
    @property
    def secret_file(self) -> str | None: ...


def access_of(settings: AccessSettings) -> Access:
    """Reads the files, once.  Raises UnusableFile, which names the setting."""
    context = None
    if settings.ca_file or settings.client_cert or settings.client_key:
        context = client_context(settings.ca_file, settings.client_cert, settings.client_key)
    if settings.secret_file is None:
        return Access(context, principal=settings.principal)
    credential = read_credential(settings.secret_file, settings.principal)
    return Access(context, credential.basic, credential.principal)
