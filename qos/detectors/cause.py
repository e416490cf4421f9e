"""Why a production container suffers, as far as a drop of its signal and the node's CPU tell."""

from __future__ import annotations

import math
from dataclasses import dataclass

from serenity.qos.contention import Cause

# Best-effort tasks that run for less than a tenth of the time cannot make a container wait for a tenth of its time,
# which is the least rise that counts here.
BUSY_CPU = 0.1  # Cores.
_RISE = 0.1  # Share of time.


@dataclass(frozen=True, slots=True)
class Surroundings:
    """NaN: not measured.  Each baseline is of the same moment as the signal's baseline."""

    signal: str
    best_effort_cpu: float  # Cores, all best-effort rows together.
    cpu_granted: float  # Of the protected container, 0..1.
    cpu_granted_baseline: float
    psi_cpu: float  # Of the node, 0..1.
    psi_cpu_baseline: float


def cause_of(seen: Surroundings) -> Cause:
    """``cpu`` when the container waits for CPU more than before and best-effort is busy.

    The container's own run delay tells whether it waits.  Where that was not measured the node's
    CPU pressure does, a weaker sign, for it includes the waiting of best-effort tasks.  Without
    such a sign a drop of the application's indicator is ``slo``, any other drop ``unknown``.
    """
    waits_more = seen.cpu_granted_baseline - seen.cpu_granted
    if math.isnan(waits_more):
        waits_more = seen.psi_cpu - seen.psi_cpu_baseline
    if waits_more >= _RISE and seen.best_effort_cpu >= BUSY_CPU:
        return "cpu"
    return "slo" if seen.signal == "sli" else "unknown"
