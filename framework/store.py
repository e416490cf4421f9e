"""The store: what must survive the framework's death.  Blocking; used from one thread.

One writer, one connection.  `commit` takes everything that one round of decisions has
changed and makes it durable in one transaction, so that a burst of updates costs one fsync.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from serenity.framework import rows, schema
from serenity.framework.cooldowns import Cooldown
from serenity.framework.jobs import Attempt, Job
from serenity.framework.placement import Executor
from serenity.framework.views import concluded
from serenity.wire.messages import api
from serenity.wire.messages.corrections import Outcome
from serenity.wire.messages.kill_record import KillRecord

_ROWS_A_STATEMENT = 500


class StoreError(Exception):
    """The store cannot be opened or written; one line for the operator."""


class StoreBusyError(StoreError):
    """This time it could not be written (locked, or the disk is full); trying again may help."""


@dataclass(slots=True)
class Changes:
    """What one round of decisions has changed; later values of a key replace earlier ones."""

    framework_id: str | None = None  # "": Mesos has removed it.
    jobs: dict[str, api.Job] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)  # By task id.
    superseded: set[str] = field(default_factory=set)  # Task ids whose instance has a newer attempt.
    executors: dict[tuple[str, str], Executor] = field(default_factory=dict)
    executors_gone: set[tuple[str, str]] = field(default_factory=set)
    outcomes: dict[str, Outcome] = field(default_factory=dict)  # Of evictions whose records are stored; by task id.
    cooldowns: dict[tuple[str, str], Cooldown] = field(default_factory=dict)
    cooldowns_over: set[tuple[str, str]] = field(default_factory=set)
    events: list[api.Event] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.framework_id is not None
            or self.jobs
            or self.attempts
            or self.outcomes
            or self.executors
            or self.executors_gone
            or self.cooldowns
            or self.cooldowns_over
            or self.events
        )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a framework that starts must know: everything that has not ended."""

    framework_id: str | None
    last_job_id: str | None
    last_event_id: int
    jobs: tuple[tuple[Job, int], ...]  # With the number of kills.
    attempts: tuple[Attempt, ...]  # The current ones of these jobs.
    executors: tuple[Executor, ...]
    cooldowns: tuple[Cooldown, ...]


class Store:
    """Raises StoreError from every method when the database does not do what it should."""

    def __init__(self, url: str) -> None:
        try:
            self._url = sa.make_url(url)
        except sa.exc.ArgumentError:
            raise StoreError(f"database: {url!r} is no database URL; write such as sqlite:////var/lib/x.db") from None
        if self._url.get_backend_name() != "sqlite":
            raise StoreError(f"database: {self._url.get_backend_name()} is not supported yet; use sqlite:///PATH")
        self._connection: sa.Connection | None = None
        self._lock_fd: int | None = None

    @property
    def path(self) -> Path:
        return Path(self._url.database or "")

    # -- opening -------------------------------------------------------------------------

    def open(self) -> None:
        """Connects, makes the file and its folder if need be, and migrates to the newest schema."""
        self._lock()
        # SQLite gives its log and index the same permissions; jobs' environments hold secrets.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        engine = sa.create_engine(self._url, poolclass=sa.pool.StaticPool)
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin)
        try:
            self._connection = engine.connect()
            self._migrate(self._connection)
        except sa.exc.DBAPIError as error:
            raise StoreError(f"cannot open {self.path}: {error.orig}") from error

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection.engine.dispose()
            self._connection = None
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _lock(self) -> None:
        """Two frameworks on one store would both lead, so the second is refused.  A dead one's lock is free."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock_fd = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"{self.path} is in use by another framework; stop it, or give --database") from None
        except OSError as error:
            raise StoreError(f"cannot use {self.path}: {error.strerror}; give another with --database") from error

    def _migrate(self, connection: sa.Connection) -> None:
        newest = len(schema.MIGRATIONS)
        with connection.begin():
            version = 0
            if sa.inspect(connection).has_table("facts"):
                version = int(self._fact(connection, "schema_version") or 0)
            if version > newest:
                raise StoreError(f"{self.path} was written by a newer Serenity (schema {version}; here {newest})")
            for migration in schema.MIGRATIONS[version:]:
                migration(connection)
            if version < newest:
                self._upsert(connection, schema.facts, [{"key": "schema_version", "value": str(newest)}])

    # -- writing -------------------------------------------------------------------------

    def commit(self, changes: Changes) -> None:
        """Makes all of it durable, or none.  Raises StoreBusyError when it may be tried again."""
        try:
            with self._open.begin():
                self._write(self._open, changes)
        except sa.exc.OperationalError as error:
            raise StoreBusyError(f"cannot write {self.path}: {error.orig}") from error
        except sa.exc.DBAPIError as error:
            raise StoreError(f"cannot write {self.path}: {error.orig}") from error

    def _write(self, connection: sa.Connection, changes: Changes) -> None:
        if changes.framework_id is not None:
            fact = {"key": "framework_id", "value": changes.framework_id}
            self._upsert(connection, schema.facts, [fact])
        self._upsert(connection, schema.jobs, [rows.from_job(each) for each in changes.jobs.values()])
        self._upsert(
            connection,
            schema.attempts,
            [rows.from_attempt(each, task not in changes.superseded) for task, each in changes.attempts.items()],
        )
        for outcome in changes.outcomes.values():
            self._conclude(connection, outcome)
        self._upsert(connection, schema.executors, [rows.from_executor(each) for each in changes.executors.values()])
        self._upsert(connection, schema.cooldowns, [rows.from_cooldown(each) for each in changes.cooldowns.values()])
        self._upsert(connection, schema.events, [rows.from_event(each) for each in changes.events])
        for agent_id, executor_id in changes.executors_gone:
            table = schema.executors
            connection.execute(table.delete().where(table.c.agent_id == agent_id, table.c.id == executor_id))
        for job_id, agent_id in changes.cooldowns_over:
            table = schema.cooldowns
            connection.execute(table.delete().where(table.c.job_id == job_id, table.c.agent_id == agent_id))

    @staticmethod
    def _conclude(connection: sa.Connection, outcome: Outcome) -> None:
        """Into the record that it belongs to.  One that is not there may come yet, and the outcome again."""
        key = rows.attempt_key(outcome.task)
        if key is None:
            return
        table = schema.attempts
        row = sa.and_(table.c.job_id == key[0], table.c.instance == key[1], table.c.number == key[2])
        found = connection.scalar(sa.select(table.c.record).where(row))
        if found is not None:
            record = concluded(msgspec.json.decode(found, type=KillRecord), outcome)
            connection.execute(table.update().where(row).values(record=msgspec.json.encode(record).decode()))

    def _upsert(self, connection: sa.Connection, table: sa.Table, values: Sequence[dict[str, Any]]) -> None:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        keys = [column.name for column in table.primary_key]
        statement = dialect.insert(table)
        statement = statement.on_conflict_do_update(
            index_elements=keys, set_={c.name: statement.excluded[c.name] for c in table.c if c.name not in keys}
        )
        for start in range(0, len(values), _ROWS_A_STATEMENT):
            connection.execute(statement, values[start : start + _ROWS_A_STATEMENT])

    # -- reading -------------------------------------------------------------------------

    def load(self) -> Snapshot:
        with self._reading() as connection:
            alive = schema.jobs.c.ended_at.is_(None)
            jobs = [rows.to_job(each) for each in connection.execute(sa.select(schema.jobs).where(alive)).mappings()]
            current = (
                sa.select(schema.attempts)
                .join(schema.jobs, schema.jobs.c.id == schema.attempts.c.job_id)
                .where(alive, schema.attempts.c.is_current)
            )
            return Snapshot(
                framework_id=self._fact(connection, "framework_id") or None,
                last_job_id=connection.scalar(sa.select(sa.func.max(schema.jobs.c.id))),
                last_event_id=connection.scalar(sa.select(sa.func.max(schema.events.c.id))) or 0,
                jobs=tuple((rows.core_job(each), each.kills) for each in jobs),
                attempts=tuple(rows.to_attempt(each) for each in connection.execute(current).mappings()),
                executors=tuple(
                    rows.to_executor(each) for each in connection.execute(sa.select(schema.executors)).mappings()
                ),
                cooldowns=tuple(
                    rows.to_cooldown(each) for each in connection.execute(sa.select(schema.cooldowns)).mappings()
                ),
            )

    def jobs(self, limit: int, ended: bool | None = None) -> api.Jobs:
        """The newest first; `ended` True or False selects."""
        query = sa.select(schema.jobs).order_by(schema.jobs.c.id.desc()).limit(limit + 1)
        if ended is not None:
            query = query.where(schema.jobs.c.ended_at.is_not(None) if ended else schema.jobs.c.ended_at.is_(None))
        with self._reading() as connection:
            found = [rows.to_job(each) for each in connection.execute(query).mappings()]
        return api.Jobs(jobs=tuple(found[:limit]), more=len(found) > limit)

    def find(self, id_or_name: str) -> list[api.Job]:
        """The job with that id, or else all jobs with that name, newest first."""
        table = schema.jobs
        by_id = sa.select(table).where(table.c.id == id_or_name)
        by_name = sa.select(table).where(table.c.name == id_or_name).order_by(table.c.id.desc())
        with self._reading() as connection:
            return [
                rows.to_job(each)
                for each in connection.execute(by_id).mappings().all() or connection.execute(by_name).mappings()
            ]

    def attempts(self, job_id: str) -> list[Attempt]:
        table = schema.attempts
        query = sa.select(table).where(table.c.job_id == job_id).order_by(table.c.instance, table.c.number)
        with self._reading() as connection:
            return [rows.to_attempt(each) for each in connection.execute(query).mappings()]

    def attempt(self, job_id: str, instance: int, number: int | None) -> Attempt | None:
        """`number` None: the newest that was launched, else the newest of all."""
        table = schema.attempts
        query = sa.select(table).where(table.c.job_id == job_id, table.c.instance == instance)
        if number is not None:
            query = query.where(table.c.number == number)
        query = query.order_by(table.c.launched_at.is_(None), table.c.number.desc()).limit(1)
        with self._reading() as connection:
            row = connection.execute(query).mappings().first()
            return rows.to_attempt(row) if row is not None else None

    def events(self, after: int, limit: int, job_id: str | None = None) -> list[api.Event]:
        """Oldest first."""
        table = schema.events
        query = sa.select(table.c.event).where(table.c.id > after).order_by(table.c.id).limit(limit)
        if job_id is not None:
            query = query.where(table.c.job_id == job_id)
        with self._reading() as connection:
            return [msgspec.json.decode(each, type=api.Event) for each in connection.scalars(query)]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        try:
            with self._open.begin():
                yield self._open
        except sa.exc.DBAPIError as error:
            raise StoreError(f"cannot read {self.path}: {error.orig}") from error

    @property
    def _open(self) -> sa.Connection:
        if self._connection is None:
            raise StoreError(f"{self.path} is not open")
        return self._connection

    @staticmethod
    def _fact(connection: sa.Connection, key: str) -> str | None:
        return connection.scalar(sa.select(schema.facts.c.value).where(schema.facts.c.key == key))


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # Python's own implicit transactions leave DDL out; `_begin` opens them instead.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=2000"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN")
