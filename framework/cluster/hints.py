"""Noisy neighbours that executors have told of, and that still hold."""

from __future__ import annotations

from serenity.wire.messages.corrections import Correction
from serenity.wire.messages.hints import Hint

# An executor tells a contention once; nobody says that it is over.  After the estimator's closed valve and an
# absolved contention it has long been forgotten.
HOLDS_S = 300.0
_MOST = 10_000


class HintBoard:
    """One hint an agent, kind, protected task and suspect; told again, it goes on."""

    def __init__(self) -> None:
        self._hints: dict[tuple[str, str | None, str | None, str], Hint] = {}

    def note(self, correction: Correction, agent: str, hostname: str | None, now_s: float) -> Hint:
        """Of a correction whose action is ``hint``."""
        key = (agent, correction.cause, correction.protected, correction.task)
        known = self._hints.pop(key, None)
        hint = Hint(
            agent=agent,
            hostname=hostname or (known.hostname if known else None),
            kind=correction.cause,
            protected=correction.protected,
            suspect=correction.task,
            severity=None,
            since=known.since if known is not None and now_s - known.last_at < HOLDS_S else now_s,
            last_at=now_s,
            text=correction.outcome,
        )
        self._hints[key] = hint
        while len(self._hints) > _MOST:
            del self._hints[next(iter(self._hints))]
        return hint

    def current(self, now_s: float) -> tuple[Hint, ...]:
        """Those that were told lately, the newest first."""
        self._hints = {key: each for key, each in self._hints.items() if now_s - each.last_at < HOLDS_S}
        return tuple(sorted(self._hints.values(), key=lambda each: each.since, reverse=True))
