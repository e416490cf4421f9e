"""Hints at noisy neighbours that executors have told and that still hold: ours, and those of other frameworks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from serenity.wire.messages.corrections import Correction
from serenity.wire.messages.hints import Hint

# An executor repeats each minute what goes on, and nobody says that it is over.
HOLDS_S = 300.0
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Spared:
    """An agent that gets nothing new for now: the worst of its hints, and which framework's that is; None: ours."""

    hint: Hint
    told_by: str | None

    def sentence(self) -> str:
        hint = self.hint
        kind = f" ({hint.kind})" if hint.kind else ""
        by = f", as {self.told_by} says" if self.told_by is not None else ""
        return (
            f"{hint.hostname or hint.agent} gets nothing new for now: {hint.protected or 'production'} suffers there"
            f"{kind} from {hint.suspect}, whom nobody corrects{by}"
        )


class HintBoard:
    """One hint for each agent, kind, protected task and suspect; a hint that is told again goes on."""

    def __init__(self) -> None:
        self._hints: dict[tuple[str, str | None, str | None, str], Hint] = {}
        self._others: dict[str, tuple[float, Sequence[Hint]]] = {}  # By framework, with when it was asked.

    def note(self, correction: Correction, agent: str, hostname: str | None, now_s: float) -> Hint:
        """The hint of a correction whose action is ``hint``.  It is news where its `since` is `now_s`."""
        key = (agent, correction.cause, correction.protected, correction.task)
        known = self._hints.pop(key, None)
        hint = Hint(
            agent=agent,
            hostname=hostname or (known.hostname if known else None),
            kind=correction.cause,
            protected=correction.protected,
            suspect=correction.task,
            severity=correction.severity,
            since=known.since if known is not None and _holds(known.last_at, now_s) else now_s,
            last_at=now_s,
            text=correction.outcome,
        )
        self._hints[key] = hint
        while len(self._hints) > _MOST:
            del self._hints[next(iter(self._hints))]
        return hint

    def heard_from(self, framework: str, hints: Sequence[Hint], now_s: float) -> None:
        """All hints that hold at that framework, by its clock: a hint that it does not tell any more is over."""
        self._others[framework] = now_s, hints[:_MOST]

    def current(self, now_s: float) -> tuple[Hint, ...]:
        """Our own that were told lately, the newest first."""
        self._hints = {key: each for key, each in self._hints.items() if _holds(each.last_at, now_s)}
        return tuple(sorted(self._hints.values(), key=lambda each: each.since, reverse=True))

    def spared(self, now_s: float) -> Mapping[str, Spared]:
        """The agents that get nothing new for now, by id."""
        self._others = {name: told for name, told in self._others.items() if _holds(told[0], now_s)}
        found: dict[str, Spared] = {}
        _keep_worst(found, self.current(now_s), None)
        for name, (_, hints) in self._others.items():
            _keep_worst(found, hints, name)
        return found


def _holds(told_s: float, now_s: float) -> bool:
    """Also where the clock was set back meanwhile, but not for as much longer."""
    return abs(now_s - told_s) < HOLDS_S


def _keep_worst(found: dict[str, Spared], hints: Iterable[Hint], told_by: str | None) -> None:
    for each in hints:
        known = found.get(each.agent)
        if known is None or (each.severity or 0.0) > (known.hint.severity or 0.0):
            found[each.agent] = Spared(each, told_by)
