"""What best-effort holds of the slack, from two sources, each of which is right at its time."""

from __future__ import annotations

from dataclasses import dataclass, field

from serenity.estimator.account.report import Amount


@dataclass(slots=True)
class Held:
    """Held resources, from the agent's state and from PUBLISH_RESOURCES events.

    Only the state shows that a task has ended, but it is up to an interval old.  A publish names the provider's whole
    use, including the coming launch, before any state shows that launch; it counts until there is a state that was
    requested after it.  No launch falls between the two: the agent queues a task, and its state counts queued tasks,
    before it publishes for the task (``Slave::__run``).  While both count, the greater is taken.  The lesser might be
    below what is held: too low a total would be told, and a task that has just begun would count as overcommitment.
    """

    _state: Amount = field(default_factory=Amount)
    _published: Amount | None = None
    _published_at_s: float = 0.0

    def looked(self, asked_at_s: float, state: Amount) -> None:
        """Takes in a state that was requested at `asked_at_s`."""
        self._state = state
        if self._published is not None and asked_at_s > self._published_at_s:
            self._published = None

    def published(self, at_s: float, use: Amount) -> None:
        self._published, self._published_at_s = use, at_s

    @property
    def now(self) -> Amount:
        return self._state if self._published is None else self._state.at_least(self._published)
