"""Corrections as an executor reports them to its framework, in Mesos' framework messages.

Best effort, as those messages are: the kill record in the terminal update is what counts.
These show the throttles and releases in between, and what an eviction has led to, which is
known only after that update; an `Outcome` may come twice, before the record, or never.
"""

from __future__ import annotations

from typing import Literal

from serenity.wire.messages.framework_message import FrameworkMessage

# A hint corrects nothing: the task is nobody's that could.
Action = Literal["throttle", "freeze", "evict", "release", "hint"]
# As the outcome of a step begins that has helped.  By it the framework knows who was evicted rightly.
RECOVERED = "recovered after"


class Correction(FrameworkMessage, frozen=True, kw_only=True, tag="correction"):
    """One correction of one best-effort task, or what became of it (`outcome`, in words)."""

    at: float  # Seconds since the epoch.
    action: Action
    task: str
    outcome: str
    protected: str | None = None  # The production task for whose sake it is done,
    protected_framework: str = ""  # by the framework's id,
    protected_job: str = ""  # and the job that it belongs to.
    cause: str | None = None
    severity: float | None = None  # The contention's (`qos.contention`).
    dry_run: bool = False  # Nothing was done; it is what would have been.


class Outcome(FrameworkMessage, frozen=True, kw_only=True, tag="outcome", omit_defaults=True):
    """What a step on a task has led to, such as ``recovered after 3.2 s``.  Of an eviction it goes to the framework."""

    at: float  # Seconds since the epoch, of the step or of this word.
    task: str
    action: str  # As the ladder of a kill record calls it.
    outcome: str
    record: str | None = None  # Of an eviction: the id of the kill record that it belongs to.
