"""Best-effort jobs that are kept off agents with production that they have hurt: ``GET /v1/antagonists``."""

from __future__ import annotations

import msgspec


class Antagonist(msgspec.Struct, frozen=True, kw_only=True):
    """`at`: when it was last confirmed, seconds since the epoch; `times`: how often it was confirmed."""

    user: str
    job: str
    protected: str  # The production job.
    cause: str
    at: float
    times: int


class Antagonists(msgspec.Struct, frozen=True, kw_only=True):
    """The most recently confirmed first."""

    antagonists: tuple[Antagonist, ...]
