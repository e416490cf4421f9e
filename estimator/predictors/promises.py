"""Whether predictions held, and how much more careful the next ones must be."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serenity.qos.frame import Bools, Floats

# So many a horizon are followed: a sample every five minutes of half an hour.
A_HORIZON = 6


@dataclass
class _Promise:
    due_t: float
    most: Floats  # Shape (2,), of those known.
    level: Floats
    peak: Floats  # What came until now.


class Promises:
    """Follows predictions of the sum over the horizon for which they are made.

    `care`, shape (2,), never negative: after each of them it is ``care + (broken - may_fail) / 6``.  As it cannot
    grow without end, in the long run at most the share `may_fail` is broken.  Source: Gibbs and Candès, 2021, on the
    logarithm of the risk, so that it cannot reach 0.
    """

    def __init__(self, horizon_s: float, may_fail: float) -> None:
        self.care = np.zeros(2)
        self._horizon_s = horizon_s
        self._may_fail = may_fail
        self._made: deque[_Promise] = deque()
        self._next_t = -np.inf
        self._ids: Sequence[str] = ()
        self._known = np.zeros((2, 0), dtype=np.bool_)
        self._level = np.zeros((2, 0))

    def see(self, t: float, ids: Sequence[str], known: Bools, level: Floats, now: Floats) -> list[Floats]:
        """Used `now`, shape (2,), by those `known`, shape (2, containers); `level`: of each, 0 where not known.

        Returns:
            Of each that has ended, by how much what came exceeded the level.
        """
        self._follow(ids, known, level)
        for promise in self._made:
            promise.peak = np.maximum(promise.peak, now)
        rises = []
        while self._made and self._made[0].due_t <= t:
            promise = self._made.popleft()
            broken = promise.peak > promise.most * (1.0 + 1e-9)
            self.care = np.maximum(0.0, self.care + (broken - self._may_fail) / A_HORIZON)
            rises.append(promise.peak - promise.level)
        return rises

    def make(self, t: float, level: Floats, most: Floats) -> None:
        """Not of every frame."""
        if t >= self._next_t:
            self._made.append(_Promise(t + self._horizon_s, most.copy(), level.copy(), np.zeros(2)))
            self._next_t = t + self._horizon_s / A_HORIZON

    def _follow(self, ids: Sequence[str], known: Bools, level: Floats) -> None:
        """Who has come was not promised for, who has gone was: their levels come and go with them."""
        if ids is not self._ids or not np.array_equal(known, self._known):
            before = {name: column for column, name in enumerate(self._ids)}
            places = np.array([before.get(name, -1) for name in ids], dtype=np.intp)
            stayed = np.zeros_like(known)
            stayed[:, places >= 0] = self._known[:, places[places >= 0]]
            left = self._level.copy()
            left[:, places[places >= 0]] = np.where(known[:, places >= 0], 0.0, left[:, places[places >= 0]])
            moved = np.where(stayed, 0.0, level).sum(axis=1) - left.sum(axis=1)
            for promise in self._made:
                promise.most, promise.level = promise.most + moved, promise.level + moved
                promise.peak = promise.peak + moved
        self._ids, self._known, self._level = ids, known, level
