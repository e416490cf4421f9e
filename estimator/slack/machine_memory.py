"""Memory that everything but best-effort uses on the machine, inside Mesos and out."""

from __future__ import annotations

import math

import numpy as np

from serenity.estimator.predictors.sliding import SlidingMax
from serenity.qos.frame import Frame


class MachineMemory:
    """What counts is the peak of that use over the last `span_s` seconds."""

    def __init__(self, span_s: float) -> None:
        self._peak = SlidingMax(span_s)
        self._best_effort_bytes: dict[str, float] = {}  # By row; the last value of a row that cannot be read.
        self._known = False
        self.lost = False  # Whether the use was known once, and is not now.

    def others_bytes(self, frame: Frame) -> float:
        """The peak use; NaN if the use now is not known."""
        self._look_at_best_effort(frame)
        readings = frame.readings
        used_bytes, total_bytes = (readings.get(name, math.nan) for name in ("mem_used_bytes", "mem_total_bytes"))
        known = math.isfinite(used_bytes) and math.isfinite(total_bytes)
        self._known = self._known or known
        self.lost = self._known and not known
        if not known:
            return math.nan
        return self._peak.add(frame.t, used_bytes - sum(self._best_effort_bytes.values()))

    def _look_at_best_effort(self, frame: Frame) -> None:
        # The machine does not count page cache as used.  Subtracting best-effort's cache all the same would raise the
        # slack that best-effort runs on.
        not_cache_bytes = frame.column("rss_bytes") - np.nan_to_num(frame.column("cache_bytes"))
        before, self._best_effort_bytes = self._best_effort_bytes, {}
        for row in np.flatnonzero(~frame.production):
            name, now_bytes = frame.containers[row].id, float(not_cache_bytes[row])
            self._best_effort_bytes[name] = now_bytes if math.isfinite(now_bytes) else before.get(name, 0.0)
