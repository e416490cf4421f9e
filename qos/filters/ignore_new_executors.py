from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from serenity.qos.frame import Container, Frame
from serenity.qos.rows import Rows, moved
from serenity.qos.stages import NOT_NEGATIVE, Parameters, parameter


@dataclass(frozen=True)
class IgnoreNewExecutorsParameters(Parameters):
    age_s: float = parameter(
        10.0, "s", "how long a production container is left out after it was first seen", NOT_NEGATIVE
    )


class IgnoreNewExecutors:
    """Drops production rows first seen less than `age_s` ago: a container that starts up is no baseline.

    Best-effort rows stay: a task that has just come is the first suspect.

    Source: Serenity's filter for new executors (2016), whose default was five minutes.
    """

    reads: frozenset[str] = frozenset()
    keeps_best_effort = True

    def __init__(self, parameters: IgnoreNewExecutorsParameters) -> None:
        self._age_s = parameters.age_s
        self._rows = Rows()
        self._first_seen = np.zeros(0)
        self._left: tuple[Container, ...] = ()  # The last selection: later stages look whether it is the same tuple.

    def step(self, frame: Frame) -> Frame:
        places = self._rows.moves(frame.ids)
        if places is not None:
            self._first_seen = moved(self._first_seen, places, frame.t)
        kept = ~frame.production | (frame.t - self._first_seen >= self._age_s)
        if kept.all():
            return frame
        selected = frame.select(kept)
        if selected.containers != self._left:
            self._left = selected.containers
        return replace(selected, containers=self._left)
