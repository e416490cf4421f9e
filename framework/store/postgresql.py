"""PostgreSQL: one database, or one schema of it, for several instances of one framework.

The instance that holds the advisory lock leads.  The lock belongs to the session that writes: when the
connection breaks the lock is free, and whatever this instance still commits fails.  So no
commit of an instance that leads no longer is ever taken.

https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON, Insert, insert

from serenity.framework.store.errors import StoreError

_CONNECT_S = 5
# A machine that died, on either side, is noticed within so many seconds; a process that died at once.
_KEEP_ALIVE = {"tcp_keepalives_idle": "4", "tcp_keepalives_interval": "2", "tcp_keepalives_count": "3"}
_LIBPQ_KEEP_ALIVE = {"keepalives_idle": 4, "keepalives_interval": 2, "keepalives_count": 3, "tcp_user_timeout": 10_000}
# Somebody else's lock on a table ends a transaction, which is tried again, and not the framework.
_LOCK_TIMEOUT = "2s"
# The lock is the schema's, for frameworks may share a database by `options=-csearch_path=…` in their URLs.
_LEAD = sa.text("SELECT pg_try_advisory_lock(hashtextextended('serenity framework ' || current_schema(), 0))")


class PostgresqlDatabase:
    shared = True

    def __init__(self, url: sa.URL) -> None:
        """Raises StoreError where the driver is not installed."""
        try:
            import psycopg  # noqa: F401 - only those who use PostgreSQL have it.
        except ImportError:
            raise StoreError("database: PostgreSQL needs psycopg; pip install 'serenity-mesos[postgresql]'") from None
        self._url = url.set(drivername="postgresql+psycopg")

    @property
    def name(self) -> str:
        return self._url.set(drivername="postgresql", query={}).render_as_string(hide_password=True)

    def connect(self) -> sa.Connection:
        # Of several servers in the URL the one that can be written.
        arguments = {"connect_timeout": _CONNECT_S, "target_session_attrs": "read-write", **_LIBPQ_KEEP_ALIVE}
        engine = sa.create_engine(self._url, poolclass=sa.pool.NullPool, connect_args=arguments)
        sa.event.listen(engine, "connect", _set_up)
        sa.event.listen(engine, "before_cursor_execute", _without_nul, retval=True)
        return engine.connect()

    def lead(self, connection: sa.Connection) -> bool:
        """A session takes the lock as often as it likes, and lets go of all when it ends."""
        with connection.begin():
            return bool(connection.scalar(_LEAD))

    def upsert(self, connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
        """One statement, with all of them in one JSON text: the server would take longer over one each."""
        text = msgspec.json.encode(rows).decode()
        if "\\u0000" in text:  # Or a backslash before them, which changes nothing.
            text = msgspec.json.encode([_cleaned(row) for row in rows]).decode()
        connection.execute(_upsert(table), {"rows": text})

    def close(self) -> None:
        """The lock went with the connection."""


@functools.cache
def _upsert(table: sa.Table) -> Insert:
    keys, names = [column.name for column in table.primary_key], [column.name for column in table.c]
    text = sa.cast(sa.bindparam("rows", type_=sa.String), JSON)
    rows = sa.func.json_populate_recordset(sa.text(f"NULL::{table.name}"), text).table_valued(*names)
    statement = insert(table).from_select(names, sa.select(*rows.c))
    updated = {name: statement.excluded[name] for name in names if name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=updated)


def _set_up(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        for name, value in {**_KEEP_ALIVE, "lock_timeout": _LOCK_TIMEOUT, "application_name": "serenity"}.items():
            cursor.execute(f"SET {name} = '{value}'")
    connection.commit()


def _without_nul(
    _connection: sa.Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
) -> tuple[str, Any]:
    """PostgreSQL's text can have no NUL, and what tasks, executors and other frameworks say may: U+FFFD stands for it.

    A commit that the database never takes would end the framework, again each time that Mesos repeats the update.
    """
    return statement, [_cleaned(each) for each in parameters] if many else _cleaned(parameters)


def _cleaned(values: Mapping[str, Any]) -> Mapping[str, Any]:
    if not any(isinstance(value, str) and "\0" in value for value in values.values()):
        return values
    return {key: value.replace("\0", "\ufffd") if isinstance(value, str) else value for key, value in values.items()}
