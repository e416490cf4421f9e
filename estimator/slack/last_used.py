"""What production containers used last: all that is certain of one that cannot be predicted just now."""

from __future__ import annotations

import numpy as np

from serenity.estimator.predictors.prediction import Prediction
from serenity.estimator.predictors.rowwise import used
from serenity.qos.frame import Floats, Frame
from serenity.qos.rows import Rows, moved

_NEVER = 0.0  # Cores and bytes of one that was never measured.


class LastUsed:
    """Keeps 32 bytes a container, for as long as it is there."""

    def __init__(self) -> None:
        self._rows = Rows()
        self._watching = 0.0  # 1 after the first frame: whoever comes then is new.
        self._used = np.zeros((2, 0))
        self._new = np.zeros((2, 0))  # 1 while a container is.

    def step(self, production: Frame, prediction: Prediction) -> Floats:
        """What each counts at where it has no prediction; shape (2, containers): cores and bytes.

        A container that appeared while we watched and never had a prediction counts at its allocation, which it may
        claim at any moment.  Any other counts at its last measured use.
        """
        places = self._rows.moves(production.ids)
        if places is not None:
            self._used, self._new = moved(self._used, places, _NEVER), moved(self._new, places, self._watching)
        self._watching = 1.0
        now = used(production)
        np.copyto(self._used, now, where=np.isfinite(now))
        self._new *= np.isnan([prediction.cpus.rows, prediction.mem_bytes.rows])
        allocated = np.array([production.allocated_cpus, production.allocated_mem_bytes])
        counted: Floats = np.where(self._new > 0, allocated, self._used)
        return counted
