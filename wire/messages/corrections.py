"""Corrections as an executor reports them to its framework, in Mesos' framework messages.

Like all such messages they may be lost: what counts is the kill record in the terminal update.
They show the throttles and releases before it, and what an eviction has led to, which is known
only after that update; an `Outcome` may come twice, before the record, or never.
"""

from __future__ import annotations

from typing import Literal

from serenity.wire.messages.framework_message import FrameworkMessage

# A hint corrects nothing, because no executor can correct the task.
Action = Literal["throttle", "freeze", "evict", "release", "hint"]
# As the outcome of a step begins that has helped.  By it the framework knows who was evicted rightly.
RECOVERED = "recovered after"


class Correction(FrameworkMessage, frozen=True, kw_only=True, tag="correction"):
    """One correction of one best-effort task, or what became of it (`outcome`, in words)."""

    at: float  # Seconds since the epoch.
    action: Action
    task: str
    outcome: str
    protected: str | None = None  # The production task that the correction protects.
    protected_framework: str = ""  # The id of that task's framework.
    protected_job: str = ""  # That task's job.
    cause: str | None = None
    severity: float | None = None  # Severity of the contention (`qos.contention`).
    dry_run: bool = False  # Nothing was done: this is what would have been done.


class Outcome(FrameworkMessage, frozen=True, kw_only=True, tag="outcome", omit_defaults=True):
    """What a step on a task has led to, such as ``recovered after 3.2 s``.  An eviction's goes to the framework."""

    at: float  # Seconds since the epoch, of the step or of this message.
    task: str
    action: str  # As in a kill record's ladder.
    outcome: str
    record: str | None = None  # Of an eviction: the id of the kill record that it belongs to.
