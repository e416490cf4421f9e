"""State of containers in arrays: each has one place on the last axis, which moves only when the set changes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from serenity.qos.frame import Floats

Places = npt.NDArray[np.intp]


class Rows:
    """Which container stands at which place of the last axis."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.places: dict[str, int] = {}

    def moves(self, ids: Sequence[str]) -> Places | None:
        """For each new place the container's old place, or -1 if it had none; None when nothing has changed."""
        if ids == self.ids:
            return None
        old, self.ids = self.places, list(ids)
        self.places = {name: place for place, name in enumerate(self.ids)}
        return np.array([old.get(name, -1) for name in self.ids], dtype=np.intp)


def moved(array: Floats, places: Places, fresh: float) -> Floats:
    """`array` with its last axis rearranged; a container without a past begins with `fresh`."""
    if not array.shape[-1]:
        return np.full((*array.shape[:-1], len(places)), fresh, dtype=array.dtype)
    out = array.take(places, axis=-1, mode="clip")
    out[..., places < 0] = fresh
    return out


class Ring:
    """The last `span` samples of `width` values a container, oldest first.

    Every sample is written twice, `span` apart, so that any window is one contiguous view.
    """

    def __init__(self, span: int, width: int, fresh: float) -> None:
        self.span = span
        self._fresh = fresh
        self._values: Floats = np.full((2 * span, width, 0), fresh)
        self._times = np.full(2 * span, -np.inf)
        self._head = -1  # Index of the newest sample, below `span`.
        self._filled = 0

    def __len__(self) -> int:
        return self._filled

    def move(self, places: Places) -> None:
        self._values = np.tile(moved(self._values[: self.span], places, self._fresh), (2, 1, 1))

    def push(self, t: float, values: Floats) -> None:
        """`values` of shape (width, containers)."""
        self._head = (self._head + 1) % self.span
        for at in (self._head, self._head + self.span):
            self._values[at] = values
            self._times[at] = t
        self._filled = min(self._filled + 1, self.span)

    @property
    def at_seam(self) -> bool:
        """Whether the next sample begins a new round."""
        return self._head == self.span - 1

    def subtract(self, values: Floats) -> None:
        """Subtracts `values` from every sample."""
        self._values -= values

    def window(self, samples: int) -> Floats:
        """A view of the newest `samples` (at most what there is), shape (samples, width, containers)."""
        end = self._head + self.span + 1
        return self._values[end - min(samples, self._filled) : end]

    def times(self, samples: int) -> Floats:
        end = self._head + self.span + 1
        return self._times[end - min(samples, self._filled) : end]
