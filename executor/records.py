"""Kill records: what goes into one, and the journal of all of them in the executor's sandbox."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import msgspec

from serenity.executor.actions import Decision, name_of
from serenity.executor.task import Task
from serenity.wire import kill_record
from serenity.wire.kill_record import KillRecord, Step

JOURNAL = "kills.jsonl"
# Of a word that others have chosen (a task's id, a label): the record must fit, whatever they chose.
_WORD_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class AgentName:
    id: str
    hostname: str


def record_of(task: Task, record_id: str, agent: AgentName, monotonic_s: float) -> KillRecord:
    """The record of a task that we ended, once it has ended."""
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
        graceful=task.graceful,
        exit=kill_record.Exit(code=task.exit.code, signal=task.exit.signal) if task.exit is not None else None,
    )
    return record if ending.decision is None else _with_evidence(record, task, ending.decision)


def _with_evidence(record: KillRecord, task: Task, decision: Decision) -> KillRecord:
    contention, finding = decision.finding.contention, decision.finding
    evidence, protected = contention.evidence, contention.protected
    return msgspec.structs.replace(
        record,
        cause=contention.cause,
        protected=kill_record.Protected(
            framework=_cut(protected.framework),
            executor=_cut(protected.executor),
            container=_cut(protected.container or protected.id),
            task=_cut(name_of(protected)),
        ),
        signal=kill_record.Signal(
            name=_cut(evidence.signal),
            unit=_cut(evidence.unit),
            observed=evidence.observed,
            baseline=evidence.baseline,
            deviation=evidence.deviation,
            threshold=evidence.threshold,
        ),
        window=kill_record.Window(
            start=evidence.window_start,
            end=evidence.window_end,
            samples=evidence.samples,
            missing=evidence.missing,
        ),
        detector=kill_record.Detector(name=contention.detector, parameters=dict(contention.parameters)),
        selection=kill_record.Selection(
            strategy=finding.strategy,
            candidates=tuple(
                kill_record.Candidate(task=_cut(each.container.id), score=each.score) for each in finding.suspects
            ),
        ),
        ladder=_concluded(decision.ladder, task),
    )


def _cut(word: str) -> str:
    return word if len(word) <= _WORD_CHARACTERS else f"{word[:_WORD_CHARACTERS]}…"


def _concluded(ladder: tuple[Step, ...], task: Task) -> tuple[Step, ...]:
    """The last step, the eviction itself, with what became of it."""
    outcome = "ended on SIGTERM" if task.graceful else "ended by SIGKILL after its grace"
    return (*ladder[:-1], Step(action=ladder[-1].action, at=ladder[-1].at, outcome=outcome))


class Journal:
    """One line of JSON a record, appended; not synced, for main must not wait for a busy disk."""

    def __init__(self, sandbox: Path) -> None:
        self.path = sandbox / JOURNAL

    def append(self, record: KillRecord) -> None:
        """Raises OSError: the disk is full, or the sandbox is gone."""
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            os.write(file, record.encode() + b"\n")
        finally:
            os.close(file)
