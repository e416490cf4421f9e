"""The tables of the store, and the steps from one schema version to the next."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

metadata = sa.MetaData()

# framework_id and schema_version.
facts = sa.Table(
    "facts",
    metadata,
    sa.Column("key", sa.String, primary_key=True),
    sa.Column("value", sa.String, nullable=False),
)

# `request` is a wire.api.JobRequest in JSON; `state`, `counts` and `kills` are derived from
# the attempts and kept, so that lists need not look at them.
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("name", sa.String, nullable=False, index=True),
    sa.Column("request", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False, index=True),
    sa.Column("counts", sa.String, nullable=False),
    sa.Column("kills", sa.Integer, nullable=False),
    sa.Column("submitted_at", sa.Float, nullable=False),
    sa.Column("kill_requested_at", sa.Float),
    sa.Column("ended_at", sa.Float),
)

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
    sa.Column("ended_at", sa.Float),
    sa.Column("end_state", sa.String),
    sa.Column("reason", sa.String),
    sa.Column("message", sa.String),
    sa.Column("avoid_s", sa.Float),
    sa.Column("record", sa.String),
    sa.Column("retry", sa.String),
    sa.Column("measured", sa.String),  # A wire.task_end.TaskEnd in JSON.
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("job_id", sa.String, index=True),
    sa.Column("event", sa.String, nullable=False),  # A wire.api.Event in JSON.
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

Migration = Callable[[sa.Connection], None]


def _add_measured(connection: sa.Connection) -> None:
    """The first migration makes the tables as they are now, this column included."""
    if "measured" not in {each["name"] for each in sa.inspect(connection).get_columns(attempts.name)}:
        connection.execute(sa.text("ALTER TABLE attempts ADD COLUMN measured VARCHAR"))


# The n-th makes schema version n+1 out of version n; each runs in one transaction with the
# new version's number.  Written once, never changed: old stores must still go through them.
MIGRATIONS: tuple[Migration, ...] = (metadata.create_all, _add_measured)
