"""The common part of predictors that look at each container by itself."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from serenity.estimator.predictors.arrays import pack, unpack
from serenity.estimator.predictors.prediction import Json, Peaks, Prediction
from serenity.qos.frame import Container, Floats, Frame
from serenity.qos.rows import Places, Rows, moved

# The resources, as the rows of every (2, containers) array here.
COLUMNS = ("cpu", "rss_bytes")
CPUS, MEM = range(2)
# Kept values never exceed these: no machine has more and no clock shows more, but damage to a float mostly makes more.
MOST_USED = np.array([[1e5], [1e16]])  # Cores and bytes, as a row of each.
MOST_S = 1e12


def used(frame: Frame) -> Floats:
    """Shape (2, containers): cores and bytes; NaN: not measured."""
    return np.stack([frame.column(name) for name in COLUMNS])


class Rowwise(ABC):
    """Keeps `numbers` numbers a container and resource, in `self.learnt` of shape (numbers, 2, containers).

    They begin as NaN.  A subclass learns from what was measured, and returns peaks; this class sets to NaN the peaks
    of containers that are too new or were not measured of late.
    """

    def __init__(self, numbers: int, min_age_s: float, stale_s: float) -> None:
        self._min_age_s = min_age_s
        self._stale_s = stale_s
        self._rows = Rows()
        self._containers: tuple[Container, ...] = ()  # Of the last frame; successive frames mostly share them.
        self._allocated = np.zeros((2, 0))
        self._seen = np.full((2, 2, 0), np.nan)  # When each was first and last measured.
        self.learnt = np.full((numbers, 2, 0), np.nan)

    def move(self, places: Places) -> None:  # noqa: B027 - not every subclass keeps more
        """Called when containers have come or gone, to rearrange what else a subclass keeps of them (qos/rows.py)."""

    @property
    @abstractmethod
    def most_learnt(self) -> Floats:
        """The most that each number can be, in a shape that broadcasts to `learnt`'s; no number is ever negative."""

    @abstractmethod
    def learn(self, use: Floats, passed_s: Floats, allocated: Floats) -> None:
        """All of shape (2, containers).  `passed_s`: time since the last measurement; NaN at the first.  `use`: NaN if
        not measured; what was learnt of that container must then not change."""

    @abstractmethod
    def peaks(self, allocated: Floats) -> Floats:
        """Shape (2, containers)."""

    def together(self, rows: Floats) -> tuple[Peaks, Peaks]:
        """The peaks of all containers together.  `rows`: the peak of each, NaN if not known; shape (2, containers)."""
        return Peaks.apart(rows[CPUS]), Peaks.apart(rows[MEM])

    def step(self, frame: Frame) -> Prediction:
        places = self._rows.moves(frame.ids)
        if places is not None:
            self._seen, self.learnt = moved(self._seen, places, np.nan), moved(self.learnt, places, np.nan)
            self.move(places)
        if frame.containers is not self._containers:
            self._allocated = np.stack([frame.allocated_cpus, frame.allocated_mem_bytes])
            self._containers = frame.containers
        use, room = used(frame), self._allocated
        measured = np.isfinite(use)
        first, last = self._seen
        self.learn(use, frame.t - last, room)
        first[measured & np.isnan(first)] = frame.t
        last[measured] = frame.t
        known = (last - first >= self._min_age_s) & (frame.t - last <= self._stale_s)
        return Prediction(*self.together(np.where(known, self.peaks(room), np.nan)))

    def state(self) -> Json:
        return {"ids": list(self._rows.ids), "seen": pack(self._seen), "learnt": pack(self.learnt)}

    def restore(self, state: Json) -> None:
        ids = state.get("ids")
        if not isinstance(ids, list) or any(type(each) is not str for each in ids) or len(set(ids)) != len(ids):
            raise ValueError("it does not say whose state it is")
        seen = unpack(state.get("seen"), self._seen, len(ids), MOST_S, may_lack=True)
        learnt = unpack(state.get("learnt"), self.learnt, len(ids), self.most_learnt, may_lack=True)
        first, last = seen
        measured = ~np.isnan(last)
        if (np.isnan(first) == measured).any() or (first > last).any() or np.isnan(learnt[:, measured]).any():
            raise ValueError("what was learnt does not fit when it was measured")
        self._seen, self.learnt = seen, learnt
        self._rows.moves(ids)
