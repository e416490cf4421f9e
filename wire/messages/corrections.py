"""Corrections as an executor reports them to its framework, in Mesos' framework messages.

Best effort, as those messages are: the kill record in the terminal update is what counts.
These show the throttles and releases in between, and what an eviction has led to, which is
known only after that update; an `Outcome` may come twice, before the record, or never.
"""

from __future__ import annotations

import base64
import binascii
from typing import Literal

import msgspec

# A hint corrects nothing: the task is nobody's that could.
Action = Literal["throttle", "freeze", "evict", "release", "hint"]


class CorrectionError(ValueError):
    """A framework message that is no correction."""


class _Message(msgspec.Struct, frozen=True, kw_only=True):
    def encode(self) -> str:
        """Base64, as Mesos wants a message's data."""
        return base64.b64encode(msgspec.json.encode(self)).decode("ascii")


class Correction(_Message, frozen=True, kw_only=True, tag="correction"):
    """One correction of one best-effort task, or what became of it (`outcome`, in words)."""

    at: float  # Seconds since the epoch.
    action: Action
    task: str
    outcome: str
    protected: str | None = None  # The production task for whose sake it is done.
    cause: str | None = None
    dry_run: bool = False  # Nothing was done; it is what would have been.


class Outcome(_Message, frozen=True, kw_only=True, tag="outcome", omit_defaults=True):
    """What a step on a task has led to, such as ``recovered after 3.2 s``.  Of an eviction it goes to the framework."""

    at: float  # Seconds since the epoch, of the step or of this word.
    task: str
    action: str  # As the ladder of a kill record calls it.
    outcome: str
    record: str | None = None  # Of an eviction: the id of the kill record that it belongs to.


def decode(data: str) -> Correction | Outcome:
    """Raises CorrectionError."""
    try:
        return msgspec.json.decode(base64.b64decode(data, validate=True), type=Correction | Outcome)
    except (binascii.Error, msgspec.MsgspecError) as error:
        raise CorrectionError(f"no correction: {error}") from error
