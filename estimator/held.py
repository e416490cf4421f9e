"""What best-effort holds of the slack: two sources, each right at its time."""

from __future__ import annotations

from dataclasses import dataclass, field

from serenity.estimator.report import Amount


@dataclass(slots=True)
class Held:
    """Held resources, from the agent's state and from PUBLISH_RESOURCES events.

    The state falls when a task ends, which no event tells; but it is up to an interval old.
    A publish names the whole use of the provider, the coming launch included, before a state
    shows it; it is believed until a state that was asked for after it.  The agent queues a
    task, where its state counts it, before it publishes for it (``Slave::__run``), so no launch
    falls between the two.  While both count, the greater does: less than what is held would
    be told as a total, and a task called overcommitment for having just begun.
    """

    _state: Amount = field(default_factory=Amount)
    _published: Amount | None = None
    _published_at_s: float = 0.0

    def looked(self, asked_at_s: float, state: Amount) -> None:
        """The state, asked for at that moment."""
        self._state = state
        if self._published is not None and asked_at_s > self._published_at_s:
            self._published = None

    def published(self, at_s: float, use: Amount) -> None:
        self._published, self._published_at_s = use, at_s

    @property
    def now(self) -> Amount:
        return self._state if self._published is None else self._state.at_least(self._published)
