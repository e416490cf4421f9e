from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from serenity.wire.transport.access import Access
from serenity.wire.transport.tls import client_context
from tests.wire.security.fronts import Front


@dataclass(frozen=True)
class Authority:
    """One that issues certificates; its own is in `ca_file`."""

    ca: trustme.CA
    folder: Path

    @property
    def ca_file(self) -> str:
        return str(self.folder / "ca.pem")

    def server(self, *names: str, clients: bool = False) -> ssl.SSLContext:
        """A server's, for `names`; with `clients` it wants a certificate of this authority from those."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*(names or ("localhost", "127.0.0.1", "::1"))).configure_cert(context)
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ca_file)
        return context

    def client_files(self, name: str = "client@example.org") -> tuple[str, str]:
        """A certificate of somebody's and its key, in a file each."""
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        issued = self.ca.issue_cert(name)
        issued.cert_chain_pems[0].write_to_path(str(cert))
        issued.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        return str(cert), str(key)

    @property
    def access(self) -> Access:
        return Access(tls=client_context(self.ca_file))


def _authority(folder: Path) -> Authority:
    made = Authority(trustme.CA(), folder)
    made.ca.cert_pem.write_to_path(made.ca_file)
    return made


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return _authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """One that nobody has reason to trust."""
    return _authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture
def front() -> Iterator[Callable[..., Front]]:
    with contextlib.ExitStack() as stack:

        def stand_before(*arguments: object, **options: object) -> Front:
            made = Front(*arguments, **options)  # type: ignore[arg-type]
            stack.callback(made.close)
            return made

        yield stand_before
