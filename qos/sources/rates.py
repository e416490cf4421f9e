from __future__ import annotations

import math
from collections.abc import Collection, Mapping


class Rate:
    """The rate of one cumulative counter."""

    __slots__ = ("_at_s", "_value")

    def __init__(self) -> None:
        self._at_s = -math.inf
        self._value = math.inf

    def take(self, at_s: float, value: float) -> float | None:
        """The counter's growth per second since its last reading.

        None at the first reading, after a reset (the counter has fallen), and when no time has
        passed.  `at_s` is when this counter was read, on a clock that does not jump.
        """
        passed_s = at_s - self._at_s
        if passed_s <= 0.0:
            return None
        grown = value - self._value
        self._at_s, self._value = at_s, value
        return grown / passed_s if grown >= 0.0 else None


class Rates:
    """One `Rate` for each row and counter, which is forgotten with its row."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, Rate]] = {}  # row → counter

    def of(self, row_id: str, counter: str) -> Rate:
        """The same object for as long as the row is kept."""
        counters = self._of.setdefault(row_id, {})
        found = counters.get(counter)
        if found is None:
            found = counters[counter] = Rate()
        return found

    def rate(self, row_id: str, counter: str, at_s: float, value: float) -> float | None:
        """`Rate.take` of that counter."""
        return self.of(row_id, counter).take(at_s, value)

    def keep(self, row_ids: Collection[str]) -> None:
        """Forgets rows that are gone."""
        for gone in self._of.keys() - set(row_ids):
            del self._of[gone]


class Members:
    """Counters of a changing set of processes or threads, as one counter that never falls.

    A new member adds all that it has counted: it began after the last look.  A member whose
    counter has fallen is a new one that got the same id.
    """

    def __init__(self) -> None:
        self._before: Mapping[int, float] | None = None
        self._counter = 0.0

    def take(self, now: Mapping[int, float], most_new: float = math.inf) -> float:
        """The counter.  `most_new`: the most that a new member can have counted since it became a member."""
        if self._before is not None:
            for member, value in now.items():
                before = self._before.get(member)
                self._counter += value - before if before is not None and value >= before else min(value, most_new)
        self._before = now
        return self._counter

    def gone(self, now: Mapping[int, float]) -> Collection[int]:
        """The members of the last time that are not there `now`."""
        return self._before.keys() - now.keys() if self._before else ()
