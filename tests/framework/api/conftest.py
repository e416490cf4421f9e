"""A framework without a Mesos, which is enough for its API: over its Unix socket, and over TCP with tokens."""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serenity.wire.transport.access import ANONYMOUS
from serenity.wire.transport.http import Endpoint, Response, request
from tests.framework.conftest import FrameworkProcess

NOBODY = "127.0.0.1:9"


class Served(FrameworkProcess):
    """`tcp` is where it listens besides."""

    def __init__(self, folder: Path, more: tuple[str, ...] = ()) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.tcp = Endpoint("127.0.0.1", probe.getsockname()[1])
        super().__init__(folder, NOBODY, more=("--listen", str(self.tcp), *more))

    def token(self, name: str, role: str = "submit", *users: str) -> str:
        """Makes one, and gives its secret."""
        asked = {"name": name, "role": role, "users": users}
        return str(self.request("POST", "/v1/tokens", asked, status=201)["secret"])

    def over_tcp(self, method: str, path: str, body: Any = None, token: str | None = None, **headers: str) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return request(self.tcp, method, path, body, named, access=ANONYMOUS.with_token(token))


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    # Not pytest's folder: who is not root could not come to the socket in it.
    with tempfile.TemporaryDirectory(prefix="serenity-api-") as folder:
        Path(folder).chmod(0o711)
        process = Served(Path(folder), ("--rate", "1000000"))
        process.start()
        try:
            yield process
        finally:
            process.stop()


def problem(answer: Response) -> tuple[int, str]:
    return answer.status, str(json.loads(answer.body)["error"])
