"""What differs between the databases: how to connect, and who of several instances leads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import sqlalchemy as sa

from serenity.framework.store.errors import StoreError
from serenity.framework.store.postgresql import PostgresqlDatabase
from serenity.framework.store.sqlite import SqliteDatabase


class Database(Protocol):
    """Used by one thread.  Every method raises StoreError, or the driver's DBAPIError."""

    shared: bool  # Whether several instances may use it at a time.

    @property
    def name(self) -> str:
        """For people: no password in it."""

    def connect(self) -> sa.Connection:
        """The one connection.  It is never replaced silently: an instance leads for as long as it lasts."""

    def lead(self, connection: sa.Connection) -> bool:
        """Takes the lead for as long as the connection lasts, if nobody has it; True if it is ours already."""

    def upsert(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """Puts in whole rows, each of another key, in the place of those that have their keys."""

    def close(self) -> None:
        """After the connection has been closed."""


def database(url: str) -> Database:
    """Raises StoreError for what is no URL of a database that is supported."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise StoreError(f"database: {url!r} is no database URL; write such as sqlite:////var/lib/x.db") from None
    match parsed.get_backend_name():
        case "sqlite":
            return SqliteDatabase(parsed)
        case "postgresql" | "postgres":
            return PostgresqlDatabase(parsed)
        case other:
            raise StoreError(f"database: {other} is not supported; use sqlite:///PATH or postgresql://HOST/NAME")
