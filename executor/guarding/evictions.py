"""Evictions: how many there may be, and what each has led to.  Pure."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from serenity.executor.guarding.actions import Concluded
from serenity.wire.messages.corrections import RECOVERED
from serenity.wire.messages.kill_record import Step

EVICT = "evict"  # As a step of the ladder is called.


class Budget:
    """At most `most` in any `window_s`."""

    def __init__(self, most: int, window_s: float) -> None:
        self.most = most
        self._window_s = window_s
        self._spent_s: deque[float] = deque()

    def left(self, now_s: float) -> bool:
        while self._spent_s and self._spent_s[0] <= now_s - self._window_s:
            self._spent_s.popleft()
        return len(self._spent_s) < self.most

    def spend(self, now_s: float) -> None:
        self._spent_s.append(now_s)


@dataclass(frozen=True, slots=True)
class _Eviction:
    at: float
    at_s: float


class Pending:
    """Evictions of which it is not known yet whether they have helped."""

    def __init__(self) -> None:
        self._evictions: dict[str, _Eviction] = {}

    def note(self, task: str, at: float, now_s: float) -> None:
        self._evictions[task] = _Eviction(at, now_s)

    def helped(self, well_since_s: float) -> list[Concluded]:
        """Production is well since then."""
        return self._conclude(list(self._evictions), RECOVERED, well_since_s)

    def in_vain(self, now_s: float) -> list[Concluded]:
        """Production still suffers; of an eviction of this very moment that says nothing."""
        before = [task for task, each in self._evictions.items() if each.at_s < now_s]
        return self._conclude(before, "no recovery in", now_s)

    def forget(self) -> None:
        """Nobody will know: nothing is concluded."""
        self._evictions.clear()

    def _conclude(self, tasks: list[str], word: str, until_s: float) -> list[Concluded]:
        concluded = []
        for task in tasks:
            eviction = self._evictions.pop(task)
            outcome = f"{word} {max(0.0, until_s - eviction.at_s):.1f} s"
            concluded.append(Concluded(task, Step(action=EVICT, at=eviction.at, outcome=outcome)))
        return concluded
