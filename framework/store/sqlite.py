"""SQLite: one file, for one framework."""

from __future__ import annotations

import fcntl
import functools
import os
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from serenity.framework.store.errors import StoreError


class SqliteDatabase:
    """The file with its write-ahead log; a lock on a file beside it keeps every other framework away."""

    shared = False

    def __init__(self, url: sa.URL) -> None:
        """Raises StoreError where there is no file in the URL: what is in memory alone would be lost with us."""
        if url.database in (None, "", ":memory:"):
            raise StoreError(f"database: {url} names no file; write such as sqlite:////var/lib/x.db")
        self._url = url
        self._lock_fd: int | None = None

    @property
    def name(self) -> str:
        return str(self._path)

    @property
    def _path(self) -> Path:
        return Path(self._url.database or "")

    def connect(self) -> sa.Connection:
        """Makes the file and its folder if need be."""
        self._lock()
        engine = sa.create_engine(self._url, poolclass=sa.pool.StaticPool)
        sa.event.listen(engine, "connect", _set_up)
        sa.event.listen(engine, "begin", _begin)
        return engine.connect()

    def lead(self, connection: sa.Connection) -> bool:
        """Whoever has connected has the lock."""
        return True

    def upsert(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        statement, names = _upsert(table)
        # Past SQLAlchemy's own handling of parameters, which would cost as much as SQLite itself.
        connection.exec_driver_sql(statement, [tuple([row[name] for name in names]) for row in rows])

    def close(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _lock(self) -> None:
        """Two frameworks on one file would both lead, so the second is refused.  A dead one's lock is free.

        Makes the file, too: SQLite gives its log and index the same permissions, and jobs' environments hold secrets.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock_fd = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        except BlockingIOError:
            raise StoreError(
                f"{self._path} is in use by another framework; stop it, or give --database (several instances "
                "need PostgreSQL)"
            ) from None
        except OSError as error:
            raise StoreError(f"cannot use {self._path}: {error.strerror}; give another with --database") from error


@functools.cache
def _upsert(table: sa.Table) -> tuple[str, tuple[str, ...]]:
    """The statement, and the columns in the order of its parameters."""
    keys = [column.name for column in table.primary_key]
    statement = sqlite.insert(table)
    updated = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
    compiled = statement.on_conflict_do_update(index_elements=keys, set_=updated).compile(dialect=sqlite.dialect())
    return compiled.string, tuple(compiled.positiontup or ())


def _set_up(connection: sqlite3.Connection, _record: object) -> None:
    # Python's own implicit transactions leave DDL out; `_begin` opens them instead.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=2000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")
