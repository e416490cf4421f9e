"""Corrections as an executor reports them to its framework, in Mesos' framework messages.

Best effort, as those messages are: the kill record in the terminal update is what counts;
these show the throttles and releases in between.
"""

from __future__ import annotations

import base64
import binascii
from typing import Literal

import msgspec

Action = Literal["throttle", "freeze", "evict", "release"]


class CorrectionError(ValueError):
    """A framework message that is no correction."""


class Correction(msgspec.Struct, frozen=True, kw_only=True, tag="correction"):
    """One correction of one best-effort task, or what became of it (`outcome`, in words)."""

    at: float  # Seconds since the epoch.
    action: Action
    task: str
    outcome: str
    protected: str | None = None  # The production task for whose sake it is done.
    cause: str | None = None
    dry_run: bool = False  # Nothing was done; it is what would have been.

    def encode(self) -> str:
        """Base64, as Mesos wants a message's data."""
        return base64.b64encode(msgspec.json.encode(self)).decode("ascii")

    @classmethod
    def decode(cls, data: str) -> Correction:
        """Raises CorrectionError."""
        try:
            return msgspec.json.decode(base64.b64decode(data, validate=True), type=cls)
        except (binascii.Error, msgspec.MsgspecError) as error:
            raise CorrectionError(f"no correction: {error}") from error
