"""The tables of the store, and the steps from one schema version to the next."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

metadata = sa.MetaData()

# Ids grow, character by character, whatever order the database's language has.
_Id = sa.String().with_variant(sa.String(collation="C"), "postgresql")
# SQLite's own row numbers are of this type, and need no index beside them.
_Number = sa.BigInteger().with_variant(sa.Integer, "sqlite")

# framework_id and schema_version.
facts = sa.Table(
    "facts",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)

# `request` is a wire.messages.api.JobRequest in JSON; `state`, `counts` and `kills` are derived from
# the attempts and kept, so that lists need not look at them.
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", _Id, primary_key=True),
    sa.Column("name", sa.String, nullable=False, index=True),
    sa.Column("request", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False, index=True),
    sa.Column("counts", sa.String, nullable=False),
    sa.Column("kills", sa.Integer, nullable=False),
    sa.Column("submitted_at", sa.Float, nullable=False),
    sa.Column("kill_requested_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("owner", sa.String),
    sa.Column("submit_id", sa.String),  # The request's `id`.
    sa.Index("ix_jobs_submit_id", "submit_id", unique=True),
)
_jobs_by_end = sa.Index("ix_jobs_ended_at", jobs.c.ended_at)

# `is_current`: the last attempt of its instance, the only one that may be alive.
attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("job_id", sa.String, primary_key=True),
    sa.Column("instance", sa.Integer, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("is_current", sa.Boolean, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("not_before", sa.Float, nullable=False),
    sa.Column("charged_before", sa.Integer, nullable=False),
    sa.Column("free_before", sa.Integer, nullable=False),
    sa.Column("agent_id", sa.String),
    sa.Column("hostname", sa.String),
    sa.Column("agent_url", sa.String),
    sa.Column("executor_id", sa.String),
    sa.Column("container_id", sa.String),
    sa.Column("launched_at", sa.Float),
    sa.Column("running_at", sa.Float),
    sa.Column("unreachable_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("end_state", sa.String),
    sa.Column("reason", sa.String),
    sa.Column("message", sa.String),
    sa.Column("avoid_s", sa.Float),
    sa.Column("record", sa.String),
    sa.Column("retry", sa.String),
    sa.Column("measured", sa.String),  # A wire.messages.task_end.TaskEnd in JSON.
)
_superseded = sa.text("NOT is_current")
_superseded_by_end = sa.Index(
    "ix_attempts_superseded", attempts.c.ended_at, sqlite_where=_superseded, postgresql_where=_superseded
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", _Number, primary_key=True, autoincrement=False),
    sa.Column("job_id", sa.String, index=True),
    sa.Column("event", sa.String, nullable=False),  # A wire.messages.api.Event in JSON.
)

executors = sa.Table(
    "executors",
    metadata,
    sa.Column("agent_id", sa.String, primary_key=True),
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("template_digest", sa.String, nullable=False),
    sa.Column("info", sa.String, nullable=False),
)

cooldowns = sa.Table(
    "cooldowns",
    metadata,
    sa.Column("job_id", sa.String, primary_key=True),
    sa.Column("agent_id", sa.String, primary_key=True),
    sa.Column("hostname", sa.String, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
)

# An operator's word that nothing new is to be placed on an agent.
holds = sa.Table(
    "holds",
    metadata,
    sa.Column("agent_id", sa.String, primary_key=True),
    sa.Column("hostname", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("until", sa.Float, nullable=False),
)

# Estimators that were launched, and are not known to have ended: never two on one agent.
estimators = sa.Table(
    "estimators",
    metadata,
    sa.Column("agent_id", sa.String, primary_key=True),
    sa.Column("hostname", sa.String, nullable=False),
    sa.Column("task_id", sa.String, nullable=False),
)

# Best-effort jobs, by user and name, that have hurt production jobs.
antagonists = sa.Table(
    "antagonists",
    metadata,
    sa.Column("user", sa.String, primary_key=True),
    sa.Column("job", sa.String, primary_key=True),
    sa.Column("protected", sa.String, primary_key=True),
    sa.Column("cause", sa.String, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("times", sa.Integer, nullable=False),
)

# How many cycles an instruction of a production job takes, by type of CPU; `at`: as of when the samples are aged.
job_cpi = sa.Table(
    "job_cpi",
    metadata,
    sa.Column("cpu_type", sa.String, primary_key=True),
    sa.Column("job", sa.String, primary_key=True),
    sa.Column("samples", sa.Float, nullable=False),
    sa.Column("mean", sa.Float, nullable=False),
    sa.Column("variance", sa.Float, nullable=False),
    sa.Column("at", sa.Float, nullable=False, index=True),
)

# How production services did, period by period, for a day.
slo_periods = sa.Table(
    "slo_periods",
    metadata,
    sa.Column("framework", sa.String, primary_key=True),
    sa.Column("service", sa.String, primary_key=True),
    sa.Column("start", sa.Float, primary_key=True, index=True),
    sa.Column("indicator", sa.String, nullable=False),
    sa.Column("unit", sa.String, nullable=False),
    sa.Column("better", sa.String, nullable=False),
    sa.Column("objective", sa.Float),
    sa.Column("measured_s", sa.Float, nullable=False),
    sa.Column("met_s", sa.Float, nullable=False),
    sa.Column("corrections", sa.Integer, nullable=False),
)

Migration = Callable[[sa.Connection], None]


def _add_column(connection: sa.Connection, table: sa.Table, column: str, kind: str) -> None:
    """The first migration makes the tables as they are now, with all columns of later ones."""
    if column not in {each["name"] for each in sa.inspect(connection).get_columns(table.name)}:
        connection.execute(sa.text(f"ALTER TABLE {table.name} ADD COLUMN {column} {kind}"))


def _add_measured(connection: sa.Connection) -> None:
    _add_column(connection, attempts, "measured", "VARCHAR")


def _add_holds(connection: sa.Connection) -> None:
    holds.create(connection, checkfirst=True)


def _add_owner_submit_id_and_unreachable_at(connection: sa.Connection) -> None:
    _add_column(connection, jobs, "owner", "VARCHAR")
    _add_column(connection, jobs, "submit_id", "VARCHAR")
    _add_column(connection, attempts, "unreachable_at", "DOUBLE PRECISION")
    for index in jobs.indexes:
        index.create(connection, checkfirst=True)


def _add_indexes_for_retention(connection: sa.Connection) -> None:
    for index in (_jobs_by_end, _superseded_by_end):
        index.create(connection, checkfirst=True)


def _add_antagonists(connection: sa.Connection) -> None:
    antagonists.create(connection, checkfirst=True)


def _add_statistics(connection: sa.Connection) -> None:
    for table in (job_cpi, slo_periods):
        table.create(connection, checkfirst=True)


def _add_estimators(connection: sa.Connection) -> None:
    estimators.create(connection, checkfirst=True)


# The n-th makes schema version n+1 out of version n; each runs in one transaction with the
# new version's number.  Written once, never changed: old stores must still go through them.
MIGRATIONS: tuple[Migration, ...] = (
    metadata.create_all,
    _add_measured,
    _add_holds,
    _add_owner_submit_id_and_unreachable_at,
    _add_indexes_for_retention,
    _add_antagonists,
    _add_statistics,
    _add_estimators,
)
