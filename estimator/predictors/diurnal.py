"""What the days before say of use at this time of day."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from serenity.estimator.predictors.arrays import pack, unpack
from serenity.estimator.predictors.prediction import Json
from serenity.estimator.predictors.rowwise import MOST_USED
from serenity.qos.frame import Bools, Floats
from serenity.qos.rows import Places, moved

_DAY_S = 86400.0
# Weight of yesterday in a slot's average: as much as all days before it.
_YESTERDAY = 0.5


class Diurnal:
    """By how much the containers' use rises from this slot of the day to the next, as far as such rises proved true.

        profile[slot] += (mean of the slot - profile[slot]) / 2        at the end of each slot, by container
        rise = max(0, trust * Σ (profile[next slot] - profile[this slot]))
        trust = E (predicted change * real change) / E (predicted change²), from 0 to 1

    The trust is the slope of the regression of the node's changes from slot to slot on the changes that the profile
    predicted, over a day's slots: 0 on the first day, and where days do not resemble each other.  Slots are as long as
    the horizon.  In cores and bytes; 4 bytes a slot, container and resource: 384 bytes a container for half hours.
    """

    def __init__(self, horizon_s: float) -> None:
        self.slots = max(2, round(_DAY_S / horizon_s))
        self._slot_s = _DAY_S / self.slots
        self._profile: npt.NDArray[Any] = np.full((self.slots, 2, 0), np.nan, dtype=np.float32)
        # Sum and count of this slot; mean of the slot before, and its profile before that mean was added.
        self._slot = np.full((4, 2, 0), np.nan)
        self._number: int | None = None  # Number of the slot, counted since the epoch.
        self._learnt = np.zeros((2, 2))  # By resource, r the predicted and d the real change: E r d and E r r.

    def move(self, places: Places) -> None:
        self._profile, self._slot = moved(self._profile, places, np.nan), moved(self._slot, places, np.nan)

    def learn(self, t: float, use: Floats, measured: Bools) -> None:
        """`use`, shape (2, containers), counts where `measured`."""
        number = int(t // self._slot_s)
        if self._number is not None and number != self._number:
            self._end_slot(self._number, follows=number == self._number + 1)
        self._number = number
        total, count = self._slot[:2]
        self._slot[0] = np.where(measured, np.where(np.isnan(total), 0.0, total) + use, total)
        self._slot[1] = np.where(measured, np.where(np.isnan(count), 0.0, count) + 1.0, count)

    def _end_slot(self, number: int, *, follows: bool) -> None:
        mean, profile = self._slot[0] / self._slot[1], self._profile[number % self.slots].astype(np.float64)
        said, came = profile - self._slot[3], mean - self._slot[2]
        both = np.isfinite(said) & np.isfinite(came)
        if both.any():
            said, came = np.where(both, said, 0.0).sum(axis=1), np.where(both, came, 0.0).sum(axis=1)
            self._learnt += (np.array([said * came, said * said]) - self._learnt) / self.slots
        new = np.where(np.isnan(profile), mean, profile + _YESTERDAY * (mean - profile))
        self._profile[number % self.slots] = np.where(np.isnan(mean), profile, new)
        self._slot[2:] = (mean, profile) if follows else np.nan
        self._slot[:2] = np.nan

    def rise(self, known: Bools) -> Floats:
        """The rise of all `known` containers together, shape (2,)."""
        if self._number is None:
            return np.zeros(2)
        here, after = (self._profile[(self._number + step) % self.slots].astype(np.float64) for step in (0, 1))
        change = np.where(known & np.isfinite(after - here), after - here, 0.0).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            trust = np.where(self._learnt[1] > 0, np.clip(self._learnt[0] / self._learnt[1], 0.0, 1.0), 0.0)
        rise: Floats = np.maximum(0.0, trust * change)
        return rise

    def state(self) -> Json:
        return {"profile": pack(self._profile), "trust": pack(self._learnt)}

    def restored(self, state: Json, containers: int) -> tuple[Floats, Floats]:
        """Raises ValueError."""
        squares = MOST_USED[:, 0] ** 2
        return (
            unpack(state.get("profile"), self._profile, containers, MOST_USED, may_lack=True),
            unpack(state.get("trust"), self._learnt, 2, squares, [-squares, 0.0 * squares]),
        )

    def restore(self, restored: tuple[Floats, Floats]) -> None:
        self._profile, self._learnt = restored
        self._slot = np.full((4, 2, self._profile.shape[-1]), np.nan)
