"""An executor of the test's own on the node's socket, which does nothing but hold the valve."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Self

from serenity.wire.messages import node

_HOLDER = "test"


class Valve:
    """Of the agent `agent_id`; open until `close`, and again after the `with`."""

    def __init__(self, agent_id: str, run_dir: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(node.socket_path(agent_id, run_dir)))
        self._say(node.Hello(framework_id="test", executor_id="test", container_id="test", pid=os.getpid()))

    def close(self) -> None:
        self._say(node.Lease(holder=_HOLDER, reason="a test", ttl_s=60.0))

    def open(self) -> None:
        self._say(node.Release(holder=_HOLDER))

    def _say(self, message: node.ToEstimator) -> None:
        self._socket.sendall(node.encode_line(message))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.open()
        self._socket.close()
