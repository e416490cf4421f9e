"""How good slack was, once it is known what production went on to use.

The measures are slackbench's.  An estimate is a violation if production, later within the horizon, uses more than the
estimate left it: best-effort work would then have had to be throttled or evicted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serenity.qos.frame import Bools, Floats

# An excess below this is no violation.
_TRIFLE = 1e-6


@dataclass(frozen=True)
class Judgement:
    """`possible`: the most slack without a violation; NaN where the horizon reaches beyond the trace.  `violates`:
    where the slack was more than that.  `excess`: by how much, as a share of `room`.  All of shape (frames,)."""

    slack: Floats
    possible: Floats
    violates: Bools
    excess: Floats

    @property
    def judged(self) -> Bools:
        return np.isfinite(self.possible)

    @property
    def violation_rate(self) -> float:
        return float(self.violates[self.judged].mean())

    @property
    def captured(self) -> float:
        """Slack without violation, as a share of what was possible."""
        possible = self.possible[self.judged]
        total = float(possible.sum())
        return float(np.minimum(self.slack[self.judged], possible).sum()) / total if total > 0 else 1.0

    @property
    def excess_p999(self) -> float:
        return float(np.quantile(self.excess[self.judged], 0.999))


def judge(t: Floats, use: Floats, slack: Floats, room: Floats, horizon_s: float, warm_up_s: float = 0.0) -> Judgement:
    """All arrays have shape (frames,), and `t` rises.  `room` is the slack if production were idle: the capacity, where
    all of that is allocated.  The first `warm_up_s` are not judged."""
    possible, left = np.full(len(t), np.nan), room - use
    last = np.searchsorted(t, t + horizon_s, side="right") - 1
    begin = int(np.searchsorted(t, t[0] + warm_up_s)) if len(t) else 0
    for i in range(begin, len(t)):
        if last[i] > i and t[-1] >= t[i] + horizon_s:
            possible[i] = max(0.0, float(left[i + 1 : last[i] + 1].min()))
    violates = slack > np.nan_to_num(possible, nan=np.inf) + _TRIFLE
    excess = np.maximum(0.0, slack - possible) / room
    return Judgement(slack, possible, violates, excess)
