from __future__ import annotations

import math
from collections.abc import Collection, Mapping


class Rates:
    """Rates from cumulative counters, one state a (row, counter), which dies with its row."""

    def __init__(self) -> None:
        self._last: dict[str, dict[str, tuple[float, float]]] = {}  # row → counter → (when, value)

    def rate(self, row_id: str, counter: str, at_s: float, value: float) -> float | None:
        """The counter's growth per second since its last reading.

        None at the first reading, after a reset (the counter has fallen), and when no time has
        passed.  `at_s` is when this counter was read, on a clock that does not jump.
        """
        counters = self._last.get(row_id)
        if counters is None:
            counters = self._last[row_id] = {}
        last = counters.get(counter)
        if last is not None and at_s <= last[0]:
            return None
        counters[counter] = (at_s, value)
        if last is None or value < last[1]:
            return None
        return (value - last[1]) / (at_s - last[0])

    def keep(self, row_ids: Collection[str]) -> None:
        """Forgets rows that are gone."""
        for gone in self._last.keys() - set(row_ids):
            del self._last[gone]


class Members:
    """Counters of a changing set of processes or threads, as one counter that never falls.

    A member that is new brings all that it has counted: it began since the last look.  One
    whose counter has fallen is another that got its id.
    """

    def __init__(self) -> None:
        self._before: Mapping[int, float] | None = None
        self._counter = 0.0

    def take(self, now: Mapping[int, float], most_new: float = math.inf) -> float:
        """The counter.  `most_new`: what a new member can have counted at most since it is one."""
        if self._before is not None:
            for member, value in now.items():
                before = self._before.get(member)
                self._counter += value - before if before is not None and value >= before else min(value, most_new)
        self._before = now
        return self._counter

    def gone(self, now: Mapping[int, float]) -> Collection[int]:
        """Who was there the last time, and is not `now`."""
        return self._before.keys() - now.keys() if self._before else ()
