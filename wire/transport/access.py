"""How to talk to a server: which certificate it must have, and who we are to it."""

from __future__ import annotations

import dataclasses
import ssl
from dataclasses import dataclass, field
from typing import Protocol

from serenity.wire.transport.credentials import read_credential
from serenity.wire.transport.tls import client_context


@dataclass(frozen=True, slots=True)
class Access:
    """What goes with every request.  One Access serves any number of servers and threads.

    Attributes:
        tls: for servers that speak TLS; None: the system's authorities, and no certificate of ours.
        authorization: the Authorization header's value.
        principal: the principal that this header names.
        server_name: the name that a server's certificate must be for, if not the host that is called.
    """

    tls: ssl.SSLContext | None = None
    authorization: str | None = field(default=None, repr=False)
    principal: str | None = None
    server_name: str | None = None

    def with_token(self, token: str | None) -> Access:
        """The same with this bearer token (RFC 6750), or none, in place of the present authorization."""
        return dataclasses.replace(self, authorization=f"Bearer {token}" if token else None, principal=None)


ANONYMOUS = Access()


class AccessSettings(Protocol):
    """The settings of a daemon for talking to Mesos.  Each is a file's path or a principal, never a secret."""

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
