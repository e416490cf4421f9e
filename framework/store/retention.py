"""What the store forgets: jobs that ended long ago, and as old attempts and events of those that live.

In slices, each in a transaction of its own, so that no commit of the framework waits for long.
"""

from __future__ import annotations

import msgspec
import sqlalchemy as sa

from serenity.framework.store import schema


class _At(msgspec.Struct):
    """Of an api.Event, what is needed here."""

    at: float


def clean_up(connection: sa.Connection, before_s: float, most: int) -> int:
    """Forgets about `most` rows of each kind from before that time; returns how many."""
    return (
        _forget_jobs(connection, before_s, most)
        + _forget_attempts(connection, before_s, most)
        + _forget_events(connection, before_s, most)
    )


def _forget_jobs(connection: sa.Connection, before_s: float, most: int) -> int:
    """With their attempts.  The newest job stays: the next id follows from its."""
    jobs, attempts = schema.jobs, schema.attempts
    newest = sa.select(sa.func.max(jobs.c.id)).scalar_subquery()
    old = sa.select(jobs.c.id).where(jobs.c.ended_at < before_s, jobs.c.id != newest).order_by(jobs.c.ended_at)
    gone = 0
    for job_id in connection.scalars(old.limit(most)).all():
        gone += connection.execute(attempts.delete().where(attempts.c.job_id == job_id)).rowcount
        gone += connection.execute(jobs.delete().where(jobs.c.id == job_id)).rowcount
        if gone >= most:
            break
    return gone


def _forget_attempts(connection: sa.Connection, before_s: float, most: int) -> int:
    """Attempts that have a successor."""
    table = schema.attempts
    old = sa.select(*table.primary_key.columns).where(sa.not_(table.c.is_current), table.c.ended_at < before_s)
    return connection.execute(table.delete().where(sa.tuple_(*table.primary_key.columns).in_(old.limit(most)))).rowcount


def _forget_events(connection: sa.Connection, before_s: float, most: int) -> int:
    """From the oldest on.  The newest stays: the next id follows from its."""
    table = schema.events
    newest = sa.select(sa.func.max(table.c.id)).scalar_subquery()
    oldest = sa.select(table.c.id, table.c.event).where(table.c.id < newest).order_by(table.c.id).limit(most)
    last = None
    for event_id, event in connection.execute(oldest):
        if msgspec.json.decode(event, type=_At).at >= before_s:
            break
        last = event_id
    return 0 if last is None else connection.execute(table.delete().where(table.c.id <= last)).rowcount
