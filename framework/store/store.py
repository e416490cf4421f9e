"""The store: what must survive the framework's death.  Blocking; used from one thread.

One writer, one connection.  `commit` takes everything that one round of decisions has
changed and makes it durable in one transaction, so that a burst of updates costs one fsync.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec
import sqlalchemy as sa

from serenity.framework.cluster.antagonists import Antagonist
from serenity.framework.cluster.kept import JobCpi, SloPeriod
from serenity.framework.crash_points import CrashPoint, passing
from serenity.framework.estimators.agent import Deployed
from serenity.framework.jobs.job import Attempt
from serenity.framework.jobs.views import concluded
from serenity.framework.placement.cooldowns import Cooldown
from serenity.framework.placement.holds import Hold
from serenity.framework.store import retention, rows, schema
from serenity.framework.store.changes import Changes, Snapshot
from serenity.framework.store.database import database
from serenity.framework.store.errors import StoreBusyError, StoreError, StoreLostError, one_line
from serenity.framework.store.rows import Row
from serenity.wire.messages import api
from serenity.wire.messages.corrections import Outcome
from serenity.wire.messages.kill_record import KillRecord
from serenity.wire.messages.task_id import parse_task_id

T = TypeVar("T")


class Store:
    """Raises StoreError from every method when the database does not do what it should.

    Only the instance that leads may write.  A connection that breaks ends the lead; `open` begins anew.
    """

    def __init__(self, url: str) -> None:
        self._database = database(url)
        self._connection: sa.Connection | None = None
        self._leading = False

    @property
    def name(self) -> str:
        """For people: no password in it."""
        return self._database.name

    @property
    def shared(self) -> bool:
        """Whether several instances may have it open at a time."""
        return self._database.shared

    # -- opening, and the lead -------------------------------------------------------------

    def open(self) -> None:
        """Connects, and leads if nobody does."""
        try:
            with self._said("open"):
                self._connection = self._database.connect()
            if not self.lead():
                with self._said("open"):
                    self._refuse_newer(self._version(self._connection))
        except StoreError:
            self.close()
            raise

    def lead(self) -> bool:
        """Takes the lead if nobody has it, and migrates to the newest schema; whether this instance leads."""
        if not self._leading:
            with self._said("open"):
                if self._database.lead(self._open):
                    self._migrate(self._open)
                    self._leading = True
        return self._leading

    def close(self) -> None:
        """The next instance may lead."""
        self._leading = False
        if self._connection is not None:
            self._connection.close()
            self._connection.engine.dispose()
            self._connection = None
        self._database.close()

    def _version(self, connection: sa.Connection) -> int:
        """The schema's; 0 where there is none."""
        with connection.begin():
            known = sa.inspect(connection).has_table(schema.facts.name)
            return int(self._fact(connection, "schema_version") or 0) if known else 0

    def _refuse_newer(self, version: int) -> None:
        newest = len(schema.MIGRATIONS)
        if version > newest:
            raise StoreError(f"{self.name} was written by a newer Serenity (schema {version}; here {newest})")

    def _migrate(self, connection: sa.Connection) -> None:
        version, newest = self._version(connection), len(schema.MIGRATIONS)
        self._refuse_newer(version)
        if version == newest:
            return
        with connection.begin():
            for migration in schema.MIGRATIONS[version:]:
                migration(connection)
            self._upsert(connection, schema.facts, [{"key": "schema_version", "value": str(newest)}])

    # -- writing -------------------------------------------------------------------------

    def commit(self, changes: Changes) -> None:
        """Makes all of it durable, or none.  Raises StoreBusyError when it may be tried again."""
        with self._writing() as connection:
            self._write(connection, changes)
            passing(CrashPoint.WRITTEN)

    def announce(self, url: str) -> None:
        """Where the API of this instance is, for those that stand by."""
        with self._writing() as connection:
            self._upsert(connection, schema.facts, [{"key": "leader", "value": url}])

    def clean_up(self, before_s: float, most: int) -> int:
        """Forgets some of what ended before that time, and returns how many rows that were; 0: no more is left."""
        with self._writing() as connection:
            return retention.clean_up(connection, before_s, most)

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
        for table, kept in (
            (schema.cooldowns, changes.cooldowns),
            (schema.holds, changes.holds),
            (schema.estimators, changes.estimators),
            (schema.antagonists, changes.antagonists),
            (schema.job_cpi, changes.job_cpi),
            (schema.slo_periods, changes.slo_periods),
        ):
            self._upsert(connection, table, [rows.from_kept(each) for each in kept.values()])
        self._upsert(connection, schema.events, [rows.from_event(each) for each in changes.events])
        for table, gone in (
            (schema.executors, changes.executors_gone),
            (schema.cooldowns, changes.cooldowns_over),
            (schema.antagonists, changes.antagonists_over),
            (schema.estimators, {(agent_id,) for agent_id in changes.estimators_gone}),
            (schema.holds, {(agent_id,) for agent_id in changes.holds_over}),
        ):
            for key in gone:
                this = sa.and_(*(column == part for column, part in zip(table.primary_key, key, strict=True)))
                connection.execute(table.delete().where(this))
        if changes.statistics_over is not None:
            cpi_before_s, periods_before_s = changes.statistics_over
            connection.execute(schema.job_cpi.delete().where(schema.job_cpi.c.at < cpi_before_s))
            connection.execute(schema.slo_periods.delete().where(schema.slo_periods.c.start < periods_before_s))

    @staticmethod
    def _conclude(connection: sa.Connection, outcome: Outcome) -> None:
        """Puts it into its kill record.  A record that is not there may come yet, and then the outcome again."""
        parts = parse_task_id(outcome.task)
        if parts is None:
            return
        table = schema.attempts
        job_id, instance, number = parts
        row = sa.and_(table.c.job_id == job_id, table.c.instance == instance, table.c.number == number)
        found = connection.scalar(sa.select(table.c.record).where(row))
        if found is not None:
            record = concluded(msgspec.json.decode(found, type=KillRecord), outcome)
            connection.execute(table.update().where(row).values(record=msgspec.json.encode(record).decode()))

    def _upsert(self, connection: sa.Connection, table: sa.Table, values: Sequence[Row]) -> None:
        if values:
            self._database.upsert(connection, table, values)

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
                cooldowns=self._all(connection, schema.cooldowns, Cooldown),
                holds=self._all(connection, schema.holds, Hold),
                estimators=self._all(connection, schema.estimators, Deployed),
                antagonists=self._all(connection, schema.antagonists, Antagonist),
                # Their columns are in the order of the fields: there may be half a million.
                job_cpi=tuple(JobCpi(*each) for each in connection.execute(sa.select(schema.job_cpi))),
                slo_periods=tuple(SloPeriod(*each) for each in connection.execute(sa.select(schema.slo_periods))),
            )

    @staticmethod
    def _all(connection: sa.Connection, table: sa.Table, kind: Callable[..., T]) -> tuple[T, ...]:
        return tuple(kind(**each) for each in connection.execute(sa.select(table)).mappings())

    def ping(self) -> None:
        """Raises StoreLostError when the connection is gone."""
        with self._reading() as connection:
            connection.execute(sa.select(1))

    def leader(self) -> str | None:
        """Where the API of the instance is that led last."""
        with self._reading() as connection:
            return self._fact(connection, "leader")

    def framework_id(self) -> str | None:
        with self._reading() as connection:
            return self._fact(connection, "framework_id") or None

    def jobs_alive(self) -> int:
        query = sa.select(sa.func.count()).select_from(schema.jobs).where(schema.jobs.c.ended_at.is_(None))
        with self._reading() as connection:
            return connection.scalar(query) or 0

    def last_event_id(self) -> int:
        with self._reading() as connection:
            return connection.scalar(sa.select(sa.func.max(schema.events.c.id))) or 0

    def jobs(self, limit: int, ended: bool | None = None) -> api.Jobs:
        """The newest first; `ended` True or False selects."""
        query = sa.select(schema.jobs).order_by(schema.jobs.c.id.desc()).limit(limit + 1)
        if ended is not None:
            query = query.where(schema.jobs.c.ended_at.is_not(None) if ended else schema.jobs.c.ended_at.is_(None))
        with self._reading() as connection:
            found = [rows.to_job(each) for each in connection.execute(query).mappings()]
        return api.Jobs(jobs=tuple(found[:limit]), more=len(found) > limit)

    def find(self, id_or_name: str) -> list[api.Job]:
        """The job with that id, its own or its client's, or else all jobs with that name, newest first."""
        table = schema.jobs
        by_id = sa.select(table).where(sa.or_(table.c.id == id_or_name, table.c.submit_id == id_or_name))
        by_name = sa.select(table).where(table.c.name == id_or_name).order_by(table.c.id.desc())
        with self._reading() as connection:
            return [
                rows.to_job(each)
                for each in connection.execute(by_id).mappings().all() or connection.execute(by_name).mappings()
            ]

    def submitted_as(self, submit_id: str) -> api.Job | None:
        """The job that its client has given this id."""
        query = sa.select(schema.jobs).where(schema.jobs.c.submit_id == submit_id)
        with self._reading() as connection:
            row = connection.execute(query).mappings().first()
            return rows.to_job(row) if row is not None else None

    def last_ended(self, job_id: str, limit: int) -> list[Attempt]:
        """The job's attempts that ended last, the newest first."""
        table = schema.attempts
        query = sa.select(table).where(table.c.job_id == job_id, table.c.ended_at.is_not(None))
        with self._reading() as connection:
            newest = connection.execute(query.order_by(table.c.ended_at.desc()).limit(limit)).mappings()
            return [rows.to_attempt(each) for each in newest]

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
        with self._said("read"), self._open.begin():
            yield self._open

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        if not self._leading:
            raise StoreLostError(f"cannot write {self.name}: this instance does not lead")
        with self._said("write"), self._open.begin():
            yield self._open

    @contextlib.contextmanager
    def _said(self, doing: str) -> Iterator[None]:
        """What the driver raises becomes a StoreError, in one line."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            text = f"cannot {doing} {self.name}: {one_line(error.orig)}"
            if self.shared and (self._connection is None or error.connection_invalidated):
                self.close()  # SQLAlchemy would connect again by itself, and without the lead.
                raise StoreLostError(text) from error
            if isinstance(error, sa.exc.OperationalError):
                raise StoreBusyError(text) from error
            raise StoreError(text) from error

    @property
    def _open(self) -> sa.Connection:
        if self._connection is None:
            raise StoreLostError(f"{self.name} is not open")
        return self._connection

    @staticmethod
    def _fact(connection: sa.Connection, key: str) -> str | None:
        return connection.scalar(sa.select(schema.facts.c.value).where(schema.facts.c.key == key))
