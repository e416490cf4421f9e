"""Noisy-neighbour hints: production suffers on an agent from a container or task that Serenity cannot correct.

    GET /v1/hints            → Hints: those in force
    GET /v1/hints/events     → server-sent events, each one an Event of type ``hint`` with a Hint in `body`

For other schedulers, which can place their work elsewhere, and for people.
"""

from __future__ import annotations

import msgspec


class Hint(msgspec.Struct, frozen=True, kw_only=True):
    """Times are seconds since the epoch.

    `suspect` is a container or task as the agent knows it.  `severity` is the contention's as of `last_at`, from 0 to 1
    (`qos.contention`); None if the executor, of an earlier version, does not report it.
    """

    agent: str
    hostname: str | None
    kind: str | None  # The contention's cause: cpu, llc, memory_bandwidth, …
    protected: str | None  # The production task that suffers.
    suspect: str
    severity: float | None
    since: float
    last_at: float
    text: str


class Hints(msgspec.Struct, frozen=True, kw_only=True):
    """The newest first."""

    hints: tuple[Hint, ...]
