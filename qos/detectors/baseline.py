"""What a signal was before: the median of its past, without the most recent seconds."""

from __future__ import annotations

import statistics
from collections import deque


class LaggedBaseline:
    """Median of the measured samples that are between `lag_s` and `lag_s + span_s` old.

    The lag keeps a change that has just begun out of the baseline; the median keeps single
    outliers out.  While `frozen`, nothing is learnt and time does not pass: what was learnt
    before a contention is as old after it as it was when the contention began.
    """

    def __init__(self, lag_s: float, span_s: float, min_samples: int) -> None:
        self._lag_s = lag_s
        self._span_s = span_s
        self._min_samples = min_samples
        self._samples: deque[tuple[float, float]] = deque()  # (time learnt, value); values are finite.
        self._frozen_at: float | None = None

    @property
    def frozen(self) -> bool:
        return self._frozen_at is not None

    def learn(self, t: float, value: float) -> None:
        """Takes a measured sample.  A `t` that lies before the last one starts afresh: the clock was set."""
        if self.frozen:
            return
        if self._samples and t < self._samples[-1][0]:
            self._samples.clear()
        self._samples.append((t, value))
        while self._samples[0][0] < t - self._lag_s - self._span_s:
            self._samples.popleft()

    def value(self, t: float) -> float | None:
        """The baseline at `t`; None while too little is known."""
        now = self._frozen_at if self._frozen_at is not None else t
        old = [value for at, value in self._samples if at <= now - self._lag_s]
        return statistics.median(old) if len(old) >= self._min_samples else None

    def freeze(self, t: float, since: float) -> None:
        """Stops learning at `t`, and forgets what was learnt at and after `since`."""
        self._frozen_at = t
        while self._samples and self._samples[-1][0] >= since:
            self._samples.pop()

    def thaw(self, t: float) -> None:
        if self._frozen_at is None:
            return
        passed_s = t - self._frozen_at
        self._samples = deque((at + passed_s, value) for at, value in self._samples)
        self._frozen_at = None
