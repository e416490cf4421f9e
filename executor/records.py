"""Kill records: what goes into the one of a task that we ended."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from serenity.executor.guarding.actions import Decision
from serenity.executor.guarding.wire_finding import detector_of, protected_of, selection_of, signal_of, window_of
from serenity.executor.tasks.task import Task
from serenity.wire.messages import kill_record
from serenity.wire.messages.kill_record import KillRecord, Step


@dataclass(frozen=True, slots=True)
class AgentName:
    id: str
    hostname: str


def record_of(
    task: Task, record_id: str, agent: AgentName, monotonic_s: float, outcome: str | None = None
) -> KillRecord:
    """The record of a task that we ended, once it has ended.  `outcome`: what that has led to, if it is known."""
    ending = task.ending
    assert ending is not None
    record = KillRecord(
        id=record_id,
        decided_at=ending.decided_at,
        agent=kill_record.Agent(id=agent.id, hostname=agent.hostname),
        killed=kill_record.Killed(
            task=task.id,
            job=task.spec.job_name,
            attempt=task.spec.attempt,
            ran_for_s=round(task.ran_for_s(monotonic_s), 3),
            resources=kill_record.TaskResources(cpus=task.spec.cpus, mem_bytes=task.spec.mem_bytes),
        ),
        reason=ending.reason.code,
        detail=ending.detail,
        graceful=task.graceful,
        exit=kill_record.Exit(code=task.exit.code, signal=task.exit.signal) if task.exit is not None else None,
        outcome=outcome,
    )
    return _with_evidence(record, task, ending.decision) if isinstance(ending.decision, Decision) else record


def _with_evidence(record: KillRecord, task: Task, decision: Decision) -> KillRecord:
    contention = decision.finding.contention
    return msgspec.structs.replace(
        record,
        cause=contention.cause,
        protected=protected_of(contention.protected),
        signal=signal_of(contention.evidence),
        window=window_of(contention.evidence),
        detector=detector_of(contention),
        selection=selection_of(decision.finding),
        ladder=_concluded(decision.ladder, task),
    )


def _concluded(ladder: tuple[Step, ...], task: Task) -> tuple[Step, ...]:
    """The last step, the eviction itself, with what became of it."""
    outcome = "ended on SIGTERM" if task.graceful else "ended by SIGKILL after its grace"
    return (*ladder[:-1], Step(action=ladder[-1].action, at=ladder[-1].at, outcome=outcome))
