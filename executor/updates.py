"""Status updates, as Mesos wants them; what the driver adds itself is left out."""

from __future__ import annotations

import base64
import signal
from typing import Any

from serenity.executor.tasks.task import Exit, Failure, Task
from serenity.wire.messages.kill_record import LABEL_CAUSE, LABEL_ID, LABEL_REASON, KillRecord
from serenity.wire.messages.reasons import Payer, Reason

# For reasons that Mesos has a reason of its own for.
_MESOS_REASON = {
    Reason.MEMORY_LIMIT: "REASON_CONTAINER_LIMITATION_MEMORY",
    Reason.DISK_LIMIT: "REASON_CONTAINER_LIMITATION_DISK",
}


def simple(task_id: str, state: str) -> dict[str, Any]:
    return {"task_id": {"value": task_id}, "state": state}


def refused(task_id: str, failure: Failure) -> dict[str, Any]:
    """A task that never ran, or of whose end nothing is known but why."""
    labels = _labels({LABEL_REASON: failure.reason.code})
    return {**simple(task_id, "TASK_FAILED"), "message": failure.text, "labels": labels}


def exited(task: Task) -> dict[str, Any]:
    """A task that ended by itself."""
    assert task.exit is not None
    labels = task.how_ended.to_labels()
    if task.exit.code == 0:
        return {**simple(task.id, "TASK_FINISHED"), "labels": _labels(labels)}
    reason = Reason.COMMAND_FAILED if task.exit.code is not None else Reason.COMMAND_SIGNALED
    labels[LABEL_REASON] = reason.code
    return {**simple(task.id, "TASK_FAILED"), "message": exit_text(task.exit), "labels": _labels(labels)}


def killed(task: Task, record: KillRecord) -> dict[str, Any]:
    """A task that we ended; the record goes with it."""
    assert task.ending is not None
    reason = task.ending.reason
    labels = {LABEL_ID: record.id, LABEL_REASON: record.reason, **task.how_ended.to_labels()}
    if record.cause is not None:
        labels[LABEL_CAUSE] = record.cause
    status = {
        **simple(task.id, "TASK_FAILED" if reason.payer is Payer.JOB else "TASK_KILLED"),
        "message": record.line(),
        "data": base64.b64encode(record.encode()).decode("ascii"),
        "labels": _labels(labels),
    }
    if reason.by_qos:
        status["reason"] = "REASON_CONTAINER_PREEMPTED"
    elif reason in _MESOS_REASON:
        status["reason"] = _MESOS_REASON[reason]
    return status


def exit_text(exit_: Exit) -> str:
    if exit_.signal is None:
        return f"exited with {exit_.code}"
    try:
        name = signal.Signals(exit_.signal).name
    except ValueError:  # A real-time signal has a number only.
        name = f"signal {exit_.signal}"
    return f"ended by {name}"


def _labels(values: dict[str, str]) -> dict[str, Any]:
    return {"labels": [{"key": key, "value": value} for key, value in values.items()]}
