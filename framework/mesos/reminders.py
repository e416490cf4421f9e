"""What is to be done again and again, ever more rarely, until it is no longer needed."""

from __future__ import annotations

import heapq

_LONGEST_S = 600.0


class Reminders:
    """Keys with a time each; a key that came due comes again after twice the pause."""

    def __init__(self, longest_s: float = _LONGEST_S) -> None:
        self._longest_s = longest_s
        self._next: dict[str, tuple[float, float]] = {}  # When, and the pause after it.
        self._heap: list[tuple[float, str]] = []

    def set(self, key: str, at_s: float, pause_s: float) -> None:
        """Comes due at `at_s`, again `pause_s` later, and so on; replaces what was set for the key."""
        self._next[key] = (at_s, pause_s)
        heapq.heappush(self._heap, (at_s, key))

    def drop(self, key: str) -> None:
        self._next.pop(key, None)  # Its entry in the heap is passed over when it comes up.

    def due(self, now_s: float) -> list[str]:
        """The keys that are due; each is set to come again."""
        keys = []
        while self._heap and self._heap[0][0] <= now_s:
            at_s, key = heapq.heappop(self._heap)
            known = self._next.get(key)
            if known is None or known[0] != at_s:
                continue
            keys.append(key)
            pause_s = known[1]
            self.set(key, now_s + pause_s, min(self._longest_s, pause_s * 2))
        return keys
