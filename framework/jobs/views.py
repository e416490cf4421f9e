"""Jobs, attempts and events as the API shows them, and the lines that people read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from serenity.framework.jobs.job import Attempt, Job, job_state
from serenity.wire.mesos.quantities import format_duration
from serenity.wire.messages import api
from serenity.wire.messages.corrections import Correction, Outcome
from serenity.wire.messages.kill_record import KillRecord
from serenity.wire.messages.reasons import Reason

_OUTCOME_CHARACTERS = 200


def job_view(job: Job, counts: Mapping[api.AttemptState, int], kills: int) -> api.Job:
    return api.Job(
        id=job.id,
        name=job.name,
        state=job_state(job, counts),
        request=job.request,
        counts={state.value: count for state, count in counts.items() if count},
        submitted_at=job.submitted_at,
        ended_at=job.ended_at,
        kill_requested_at=job.kill_requested_at,
        kills=kills,
        owner=job.owner,
    )


def attempt_view(attempt: Attempt) -> api.Attempt:
    place, ending = attempt.place, attempt.ending
    return api.Attempt(
        task=attempt.task_id,
        instance=attempt.instance,
        attempt=attempt.number,
        state=attempt.state,
        created_at=attempt.created_at,
        not_before=attempt.not_before,
        agent=place.agent_id if place else None,
        hostname=place.hostname if place else None,
        launched_at=attempt.launched_at,
        running_at=attempt.running_at,
        ended_at=attempt.ended_at,
        reason=ending.reason.code if ending and ending.reason else None,
        message=ending.message if ending else "",
        killed=attempt.killed,
        line=kill_line(attempt) + outcome_text(attempt) if attempt.killed else None,
        retry=attempt.retry,
        record=record_json(attempt),
        measured=ending.measured if ending else None,
    )


def concluded(record: KillRecord, outcome: Outcome) -> KillRecord:
    """The record with what the eviction has led to; unchanged where that is another record's."""
    if outcome.record != record.id or record.outcome is not None:
        return record
    return msgspec.structs.replace(record, outcome=one_line(outcome.outcome)[:_OUTCOME_CHARACTERS])


def outcome_text(attempt: Attempt) -> str:
    """Such as ``; recovered after 3.2 s``, of an eviction.  It comes later than the kill, and may never come."""
    record = attempt.ending.record if attempt.ending else None
    if record is None or not record.evicted:
        return ""
    return f"; {record.outcome or 'outcome unknown'}"


def record_json(attempt: Attempt) -> dict[str, Any] | None:
    if attempt.ending is None or attempt.ending.record is None:
        return None
    record: dict[str, Any] = msgspec.to_builtins(attempt.ending.record)
    return record


def kill_line(attempt: Attempt) -> str:
    """The kill in one line; times are told as of the moment it ended."""
    assert attempt.ending is not None and attempt.ended_at is not None
    ending = attempt.ending
    if ending.record is not None:
        return ending.record.line(now=attempt.ended_at)
    where = f" on {attempt.place.hostname}" if attempt.place else ""
    if ending.reason is None:
        text = f"killed{where}, no record of why" + (f": {one_line(ending.message)}" if ending.message else "")
    else:
        message = one_line(ending.message)
        detail = f" ({message})" if message and ending.reason.text not in message else ""
        text = f"{ending.reason.code}{where}: {ending.reason.text}{detail}"
    return text + retry_text(attempt)


def retry_text(attempt: Attempt) -> str:
    """Such as ``; retry 2, free, in 45 s, avoiding h7``; empty when nothing was to follow."""
    retry = attempt.retry
    if retry is None:
        return ""
    if retry.attempt is None:
        by_user = attempt.ending is not None and attempt.ending.reason is Reason.KILLED_BY_USER
        return "" if by_user else "; no retry left"
    text = f"; retry {retry.attempt}, {'charged' if retry.charged else 'free'}"
    if retry.not_before is not None and attempt.ended_at is not None and retry.not_before > attempt.ended_at:
        text += f", in {retry.not_before - attempt.ended_at:.0f} s"
    return text + (f", avoiding {', '.join(retry.avoid)}" if retry.avoid else "")


def attempt_text(attempt: Attempt) -> str:
    """What has just happened to the attempt, for its event."""
    if attempt.killed:
        return kill_line(attempt)
    where = f" on {attempt.place.hostname}" if attempt.place else ""
    if attempt.state is api.AttemptState.FINISHED and attempt.running_at and attempt.ended_at:
        return f"finished{where} after {format_duration(attempt.ended_at - attempt.running_at)}"
    if attempt.state is api.AttemptState.KILLED:
        return f"killed{where} on request"
    if attempt.state is api.AttemptState.FAILED and attempt.ending is not None:
        why = one_line(attempt.ending.message) or (attempt.ending.reason.text if attempt.ending.reason else "")
        return f"failed{where}" + (f": {why}" if why else "") + retry_text(attempt)
    if attempt.state is api.AttemptState.PENDING:
        return f"pending, attempt {attempt.number}"
    return f"{attempt.state}{where}"


def correction_text(correction: Correction) -> str:
    """Such as ``throttle for memcached (cpu): quota 0.5 → 0.25 cores``."""
    text = correction.action + (" (dry run)" if correction.dry_run else "")
    text += f" for {correction.protected}" if correction.protected else ""
    text += f" ({correction.cause})" if correction.cause else ""
    return one_line(f"{text}: {correction.outcome}" if correction.outcome else text)


def one_line(text: str) -> str:
    """Control characters and line ends of somebody else's text must not reach a terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text).strip()
