from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serenity.qos.frame import Frame
from serenity.qos.rows import Rows, moved
from serenity.qos.stages import parameter


@dataclass(frozen=True)
class IgnoreNewParameters:
    age_s: float = parameter(10.0, "s", "how long a production container is left out after it was first seen")

    def __post_init__(self) -> None:
        if not self.age_s >= 0:
            raise ValueError(f"age_s = {self.age_s} is negative; write seconds, 0 to ignore none")


class IgnoreNew:
    """Drops production rows first seen less than `age_s` ago: what starts up is no baseline.

    Best-effort rows stay: the one that just came is the first suspect.
    """

    def __init__(self, parameters: IgnoreNewParameters) -> None:
        self._age_s = parameters.age_s
        self._rows = Rows()
        self._first_seen = np.zeros(0)

    def step(self, frame: Frame) -> Frame:
        places = self._rows.moves(frame.ids)
        if places is not None:
            self._first_seen = moved(self._first_seen, places, frame.t)
        kept = ~frame.production | (frame.t - self._first_seen >= self._age_s)
        return frame if kept.all() else frame.select(kept)
