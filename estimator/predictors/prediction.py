"""A prediction, and what a predictor must provide."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np

from serenity.qos.frame import Bools, Floats, Frame

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Peaks:
    """Peak use of one resource.

    `rows`: the peak of each row of the frame; NaN if the container is too new, or was not measured of late.
    `together`: the peak of the sum of all rows that are not NaN; mostly less than the sum of their peaks, because
    peaks rarely coincide.
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
        """Without the peaks of these rows; `together` stays as it is."""
        return replace(self, cpus=self.cpus.without(rows), mem_bytes=self.mem_bytes.without(rows))

    def where_unknown(self, use: Floats) -> Self:
        """With `use` in place of each peak that is not known; `use` has shape (2, containers): cores and bytes."""
        cpus, mem_bytes = use
        return replace(self, cpus=self.cpus.where_unknown(cpus), mem_bytes=self.mem_bytes.where_unknown(mem_bytes))


class Predictor(Protocol):
    """Frames in, predictions out.  A prediction depends on the frames alone, whose `t` never falls.

    What it remembers of a container dies with the container.
    """

    def step(self, frame: Frame) -> Prediction: ...

    def state(self) -> Json:
        """All that was learnt, for JSON and for `restore` of a predictor with the same parameters."""

    def restore(self, state: Json) -> None:
        """To be called before the first frame.

        Raises:
            ValueError: `state` is no state of this predictor; nothing is restored.
        """
