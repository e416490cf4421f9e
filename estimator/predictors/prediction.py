"""What a predictor says, and what it has to be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np

from serenity.qos.frame import Bools, Floats, Frame

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Peaks:
    """Peak use of one resource.

    `rows`, one a row of the frame; NaN: too new, or not measured of late.  `together`: of the rows
    that are not NaN, all at once; mostly less than their sum, for peaks rarely coincide.
    """

    rows: Floats
    together: float

    @classmethod
    def apart(cls, rows: Floats) -> Self:
        """As if all peaks coincided."""
        return cls(rows, float(np.nansum(rows)))

    def without(self, rows: Bools) -> Self:
        return replace(self, rows=np.where(rows, np.nan, self.rows))

    def where_unknown(self, use: Floats) -> Self:
        unknown = np.isnan(self.rows)
        return replace(self, rows=np.where(unknown, use, self.rows), together=self.together + float(use[unknown].sum()))


@dataclass(frozen=True, slots=True)
class Prediction:
    """In cores and bytes."""

    cpus: Peaks
    mem_bytes: Peaks

    def without(self, rows: Bools) -> Self:
        """As if there were none for these; all together may use no less for that."""
        return replace(self, cpus=self.cpus.without(rows), mem_bytes=self.mem_bytes.without(rows))

    def where_unknown(self, use: Floats) -> Self:
        """With what these use in place of those that there are none of; shape (2, containers): cores and bytes."""
        cpus, mem_bytes = use
        return replace(self, cpus=self.cpus.where_unknown(cpus), mem_bytes=self.mem_bytes.where_unknown(mem_bytes))


class Predictor(Protocol):
    """Frames in, predictions out; what it predicts depends on the frames alone, whose `t` never falls.

    What it remembers of a container dies with the container.
    """

    def step(self, frame: Frame) -> Prediction: ...

    def state(self) -> Json:
        """All that it has learnt, for JSON; `restore` of a predictor with the same parameters takes it."""

    def restore(self, state: Json) -> None:
        """Before the first frame.

        Raises:
            ValueError: that is no state of this predictor; nothing is restored.
        """
