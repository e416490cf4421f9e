"""Whether predictions held, and how much more careful the next ones must be."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from serenity.qos.frame import Bools, Floats

# So many a horizon are followed: a sample every five minutes of half an hour.
A_HORIZON = 6


class Rise(NamedTuple):
    """What came within a horizon, shape (2,) where nothing else is said."""

    above: Floats  # Of the level, at the most.
    moments: Floats  # Shape (tilts, 2): of those who were there; where some came or went, the most in between.
    of_somebody: Bools  # Whether anybody was known.


@dataclass
class _Promise:
    due_t: float
    most: Floats  # Shape (2,), of those known.
    level: Floats
    of_somebody: Bools
    peak: Floats = field(default_factory=lambda: np.zeros(2))  # What came until now.
    moments: Floats | float = -np.inf  # While others were there than now.


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
        self._moments: Floats | float = -np.inf

    def see(
        self, t: float, ids: Sequence[str], known: Bools, level: Floats, now: Floats, moments: Floats
    ) -> list[Rise]:
        """Used `now`, shape (2,), by those `known`, shape (2, containers); `level`: of each, 0 where not known;
        `moments`: of their sum, shape (tilts, 2).  What came of each promise that has ended."""
        self._follow(ids, known, level)
        self._moments = moments
        for promise in self._made:
            promise.peak = np.maximum(promise.peak, now)
        rises = []
        while self._made and self._made[0].due_t <= t:
            promise = self._made.popleft()
            broken = promise.peak > promise.most * (1.0 + 1e-9)
            care = np.maximum(0.0, self.care + (broken - self._may_fail) / A_HORIZON)
            self.care = np.where(promise.of_somebody, care, self.care)
            seen = np.maximum(promise.moments, moments)
            rises.append(Rise(promise.peak - promise.level, seen, promise.of_somebody))
        return rises

    def make(self, t: float, level: Floats, most: Floats, of_somebody: Bools) -> None:
        """Not of every frame; and of nobody none, for who comes later was not promised for."""
        if t >= self._next_t and of_somebody.any():
            self._made.append(_Promise(t + self._horizon_s, most.copy(), level.copy(), of_somebody))
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
                promise.moments = np.maximum(promise.moments, self._moments)
        self._ids, self._known, self._level = ids, known, level
