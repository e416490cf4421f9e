"""Best-effort jobs that are kept off agents where production lives that they have hurt: ``GET /v1/antagonists``."""

from __future__ import annotations

import msgspec


class Antagonist(msgspec.Struct, frozen=True, kw_only=True):
    """`at`: when it was confirmed last, seconds since the epoch; `times`: how often."""

    user: str
    job: str
    protected: str  # The production job.
    cause: str
    at: float
    times: int


class Antagonists(msgspec.Struct, frozen=True, kw_only=True):
    """Who was confirmed last stands first."""

    antagonists: tuple[Antagonist, ...]
