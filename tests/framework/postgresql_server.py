"""A PostgreSQL of the tests' own, where its binaries are found."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from serenity.localmesos.cluster.real_mesos import free_port
from tests.polling import eventually

# Debian puts them beside PATH, by version.
_DEBIAN = "/usr/lib/postgresql"


def find_binaries() -> Path | None:
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path(_DEBIAN).glob("*/bin"), reverse=True)
    return next((each for each in folders if (each / "initdb").exists() and (each / "postgres").exists()), None)


class PostgresqlServer:
    """On a free port of this machine, with nothing synced; as another user where root may not run it."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="serenity-postgresql-"))
        self._port = free_port("127.0.0.1", 0)
        self._as: dict[str, Any] = {"cwd": self._folder, "env": {"LC_ALL": "C", "PATH": os.environ["PATH"]}}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self._folder, nobody.pw_uid, nobody.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        self._schemas = itertools.count(1)
        options = ("--auth=trust", "--username=serenity", "--no-sync", "--encoding=UTF8", "--no-locale")
        subprocess.run(
            [str(binaries / "initdb"), *options, "-D", str(self._data)], check=True, capture_output=True, **self._as
        )

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        settings = (
            *("listen_addresses=127.0.0.1", f"port={self._port}", "unix_socket_directories="),
            *("fsync=off", "full_page_writes=off", "shared_buffers=16MB", "max_connections=30"),
        )
        arguments = [part for each in settings for part in ("-c", each)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._binaries / "postgres"), "-D", str(self._data), *arguments],
                stdout=log,
                stderr=log,
                **self._as,
            )
        eventually(self._ready, "PostgreSQL's answer")

    def _ready(self) -> bool:
        import psycopg

        try:
            self.run("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """At once, whoever is connected."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=20)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def new_url(self) -> str:
        """Of an empty schema."""
        schema = f"s{next(self._schemas)}"
        self.run(f"CREATE SCHEMA {schema}")
        return f"postgresql://serenity@127.0.0.1:{self._port}/postgres?options={quote(f'-csearch_path={schema}')}"

    def run(self, statement: str) -> list[Any]:
        """Its rows, if it has any; on a connection of its own."""
        import psycopg

        with psycopg.connect(
            f"host=127.0.0.1 port={self._port} user=serenity dbname=postgres connect_timeout=5", autocommit=True
        ) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []
