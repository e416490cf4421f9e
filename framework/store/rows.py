"""Between the store's rows and the framework's objects."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import msgspec

from serenity.framework.cluster.antagonists import Antagonist
from serenity.framework.cluster.kept import JobCpi, SloPeriod
from serenity.framework.estimators.agent import Deployed
from serenity.framework.jobs.job import Attempt, Ending, Job, Place
from serenity.framework.placement.agents import Executor
from serenity.framework.placement.cooldowns import Cooldown
from serenity.framework.placement.holds import Hold
from serenity.wire.messages import api
from serenity.wire.messages.kill_record import KillRecord, Retry
from serenity.wire.messages.reasons import Reason
from serenity.wire.messages.task_end import TaskEnd

Row = dict[str, Any]


def from_job(job: api.Job) -> Row:
    return {
        "id": job.id,
        "name": job.name,
        "request": _json(job.request),
        "state": job.state.value,
        "counts": _json(job.counts),
        "kills": job.kills,
        "submitted_at": job.submitted_at,
        "kill_requested_at": job.kill_requested_at,
        "ended_at": job.ended_at,
        "owner": job.owner,
        "submit_id": job.request.id,
    }


def to_job(row: Mapping[Any, Any]) -> api.Job:
    return api.Job(
        id=row["id"],
        name=row["name"],
        state=api.JobState(row["state"]),
        request=msgspec.json.decode(row["request"], type=api.JobRequest),
        counts=msgspec.json.decode(row["counts"], type=dict[str, int]),
        submitted_at=row["submitted_at"],
        ended_at=row["ended_at"],
        kill_requested_at=row["kill_requested_at"],
        kills=row["kills"],
        owner=row["owner"],
    )


def core_job(job: api.Job) -> Job:
    """The job as the state machine knows it."""
    return Job(job.id, job.name, job.request, job.submitted_at, job.kill_requested_at, job.ended_at, job.owner)


def from_attempt(attempt: Attempt, is_current: bool) -> Row:
    place, ending = attempt.place, attempt.ending
    return {
        "job_id": attempt.job_id,
        "instance": attempt.instance,
        "number": attempt.number,
        "is_current": is_current,
        "state": attempt.state.value,
        "created_at": attempt.created_at,
        "not_before": attempt.not_before,
        "charged_before": attempt.charged_before,
        "free_before": attempt.free_before,
        "agent_id": place.agent_id if place else None,
        "hostname": place.hostname if place else None,
        "agent_url": place.agent_url if place else None,
        "executor_id": place.executor_id if place else None,
        "container_id": attempt.container_id,
        "launched_at": attempt.launched_at,
        "running_at": attempt.running_at,
        "unreachable_at": attempt.unreachable_at,
        "ended_at": attempt.ended_at,
        "end_state": ending.state.value if ending else None,
        "reason": ending.reason.code if ending and ending.reason else None,
        "message": ending.message if ending else None,
        "avoid_s": ending.avoid_s if ending else None,
        "record": _json(ending.record) if ending and ending.record else None,
        "retry": _json(attempt.retry) if attempt.retry else None,
        "measured": _json(ending.measured) if ending and ending.measured else None,
    }


def to_attempt(row: Mapping[Any, Any]) -> Attempt:
    place = None
    if row["agent_id"] is not None:
        place = Place(row["agent_id"], row["hostname"], row["agent_url"], row["executor_id"])
    ending = None
    if row["end_state"] is not None:
        record = msgspec.json.decode(row["record"], type=KillRecord) if row["record"] else None
        reason = Reason.__members__.get(row["reason"] or "")
        measured = msgspec.json.decode(row["measured"], type=TaskEnd) if row["measured"] else None
        state = api.AttemptState(row["end_state"])
        ending = Ending(state, reason, row["message"], record, row["avoid_s"], measured=measured)
    return Attempt(
        row["job_id"],
        row["instance"],
        row["number"],
        created_at=row["created_at"],
        not_before=row["not_before"],
        state=api.AttemptState(row["state"]),
        charged_before=row["charged_before"],
        free_before=row["free_before"],
        place=place,
        container_id=row["container_id"],
        launched_at=row["launched_at"],
        running_at=row["running_at"],
        unreachable_at=row["unreachable_at"],
        ended_at=row["ended_at"],
        ending=ending,
        retry=msgspec.json.decode(row["retry"], type=Retry) if row["retry"] else None,
        story=(f"{row['state']} when this process started",),
    )


def from_executor(executor: Executor) -> Row:
    return {
        "agent_id": executor.agent_id,
        "id": executor.id,
        "template_digest": executor.template_digest,
        "info": _json(executor.info),
    }


def to_executor(row: Mapping[Any, Any]) -> Executor:
    return Executor(row["agent_id"], row["id"], row["template_digest"], msgspec.json.decode(row["info"]))


def from_kept(kept: Cooldown | Hold | Deployed | Antagonist | JobCpi | SloPeriod) -> Row:
    """Of what has a column for each of its fields; so ``KIND(**row)`` is the way back."""
    return dataclasses.asdict(kept)


def from_event(event: api.Event) -> Row:
    return {"id": event.id, "job_id": event.job, "event": _json(event)}


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
