"""A real ZooKeeper of the tests' own, and masters that register themselves in it as Mesos' do."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from kazoo.client import KazooClient

_DEBIAN = "/usr/share/zookeeper/bin"


def find() -> str | None:
    return shutil.which("zkServer.sh", path=os.pathsep.join((os.environ.get("PATH", ""), _DEBIAN)))


class ZooKeeperServer:
    """One server, without a memory from one start to the next: sessions and nodes of before are gone."""

    def __init__(self, program: str, folder: Path) -> None:
        self._program = program
        self._folder = folder
        self._starts = 0
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._starts += 1
        config = self._folder / "zoo.cfg"
        host, port = self.address.split(":")
        config.write_text(
            f"dataDir={self._folder}/data{self._starts}\nclientPort={port}\nclientPortAddress={host}\n"
            "tickTime=500\nadmin.enableServer=false\n"
        )
        environ = {**os.environ, "JMXDISABLE": "true", "ZOO_LOG_DIR": str(self._folder)}
        with (self._folder / "zookeeper.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "start-foreground", str(config)], stdout=log, stderr=log, env=environ, cwd=self._folder
            )
        deadline = time.monotonic() + 30
        while not self._serves():
            assert self._process.poll() is None and time.monotonic() < deadline, "ZooKeeper does not start"
            time.sleep(0.05)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _serves(self) -> bool:
        """It listens before that, and leaves who comes too early waiting for seconds."""
        host, port = self.address.split(":")
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=0.5) as sock:
            sock.sendall(b"srvr")
            return b"Mode: " in sock.makefile("rb").read()
        return False


class Registration:
    """A master's, from its beginning to `end`; it takes the session with it, and so the node."""

    def __init__(self, zookeeper: str, path: str, data: bytes, label: str = "json.info", **options: Any) -> None:
        self._client = KazooClient(zookeeper, **options)
        self._client.start(timeout=15)
        self._client.ensure_path(path)
        self.node = self._client.create(f"{path}/{label}_", data, ephemeral=True, sequence=True)

    def end(self) -> None:
        self._client.stop()
        self._client.close()


def master_info(address: str, hostname: str | None = None) -> bytes:
    """As Mesos 1.11 writes it."""
    ip, _, port = address.rpartition(":")
    return json.dumps(
        {
            "address": {"hostname": hostname or ip, "ip": ip, "port": int(port)},
            "capabilities": [{"type": "AGENT_UPDATE"}],
            "hostname": hostname or ip,
            "id": "bd25068b-4e1d-4c63-9846-20939f34363f",
            "ip": 16777343,
            "pid": f"master@{address}",
            "port": int(port),
            "version": "1.11.0",
        }
    ).encode()
