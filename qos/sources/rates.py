from __future__ import annotations

from collections.abc import Collection


class Rates:
    """Rates from cumulative counters, one state a (row, counter), which dies with its row."""

    def __init__(self) -> None:
        self._last: dict[str, dict[str, tuple[float, float]]] = {}  # row → counter → (when, value)

    def rate(self, row_id: str, counter: str, at_s: float, value: float) -> float | None:
        """The counter's growth per second since its last reading.

        None at the first reading, after a reset (the counter has fallen), and when no time has
        passed.  `at_s` is when this counter was read, on a clock that does not jump.
        """
        counters = self._last.setdefault(row_id, {})
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
