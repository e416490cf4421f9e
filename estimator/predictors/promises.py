"""Whether predictions held, and how much more careful the next predictions must be."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from serenity.qos.frame import Bools, Floats

# How many predictions are followed in each horizon: with half an hour, one every five minutes.
A_HORIZON = 6


class Rise(NamedTuple):
    """What happened within the horizon of one prediction; shape (2,) unless stated otherwise."""

    above: Floats  # By how much use exceeded the level at most.
    moments: Floats  # Shape (tilts, 2), at the end of the horizon; where containers came or went, the most in between.
    of_somebody: Bools  # Whether any container was known.


@dataclass
class _Promise:
    due_t: float
    most: Floats  # Shape (2,): the predicted peak of the known containers.
    level: Floats
    of_somebody: Bools
    peak: Floats = field(default_factory=lambda: np.zeros(2))  # The most used until now.
    moments: Floats | float = -np.inf  # The most, at times when other containers were there.


class Promises:
    """Follows each prediction of the sum for the horizon that it was made for.

    `care`, shape (2,), is never negative; each prediction that ends changes it to ``care + (broken - may_fail) / 6``.
    As `care` cannot grow without end, at most the share `may_fail` of predictions is broken in the long run.
    Source: Gibbs and Candès, 2021, here on the logarithm of the risk, so that the risk cannot reach 0.
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
        """`now`: use of the `known` containers together, shape (2,); `known` has shape (2, containers).  `level`: of
        each container, 0 where not known.  `moments`: of their sum, shape (tilts, 2).  Returns a Rise for each promise
        that has ended."""
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
        """Six a horizon, not one a frame; none without known containers, as one that comes later is not part of it."""
        if t >= self._next_t and of_somebody.any():
            self._made.append(_Promise(t + self._horizon_s, most.copy(), level.copy(), of_somebody))
            self._next_t = t + self._horizon_s / A_HORIZON

    def _follow(self, ids: Sequence[str], known: Bools, level: Floats) -> None:
        """Moves all promises by the levels of containers that came (not part of them) or went (part of them)."""
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
