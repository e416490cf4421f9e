"""What an eviction has led to is known only after the task has gone: so it is sent to the framework after the record.

Mesos may lose a framework message, so an outcome is said several times; the framework takes it
once.  An outcome that is known before the task has ended is in the record itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from serenity.daemon.clock import Clock
from serenity.wire.messages.corrections import Outcome

# After the first time.  The record itself may be on its way for a while: Mesos keeps updates until they are taken.
_AGAIN_AFTER_S = (5.0, 30.0, 300.0)
# Evicted tasks whose outcome, or whose end, never came; the oldest are forgotten.
_MOST_WAITING = 1000


@dataclass
class _Said:
    data: str
    first_s: float
    times: int = 1

    @property
    def next_s(self) -> float:
        return self.first_s + _AGAIN_AFTER_S[self.times - 1]


class Outcomes:
    """Main thread only.  `say`: sends a framework message, base64."""

    def __init__(self, clock: Clock, say: Callable[[str], None]) -> None:
        self._clock = clock
        self._say = say
        self._early: dict[str, str] = {}  # Outcomes, by task, that came before the task's end.
        self._records: dict[str, str] = {}  # Record ids, by task, whose outcome is to come.
        self._said: list[_Said] = []

    def known(self, task: str, outcome: str) -> None:
        """What the eviction of `task` has led to."""
        record = self._records.pop(task, None)
        if record is None:
            _keep(self._early, task, outcome)
            return
        data = Outcome(at=self._clock.now_s(), task=task, action="evict", outcome=outcome, record=record).encode()
        self._say(data)
        self._said.append(_Said(data, self._clock.monotonic_s()))
        del self._said[:-_MOST_WAITING]

    def recorded(self, task: str, record: str) -> str | None:
        """The task has ended, and gets a record with that id; its outcome, if that is known already."""
        early = self._early.pop(task, None)
        if early is None:
            _keep(self._records, task, record)
        return early

    @property
    def next_s(self) -> float | None:
        """When `due` is to be called next, monotonic."""
        return min((each.next_s for each in self._said), default=None)

    def due(self) -> None:
        """Says again what is to be said again."""
        now_s = self._clock.monotonic_s()
        for each in self._said:
            if now_s >= each.next_s:
                self._say(each.data)
                each.times += 1
        self._said = [each for each in self._said if each.times <= len(_AGAIN_AFTER_S)]


def _keep(kept: dict[str, str], task: str, value: str) -> None:
    kept[task] = value
    while len(kept) > _MOST_WAITING:
        del kept[next(iter(kept))]
