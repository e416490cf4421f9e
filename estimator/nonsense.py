"""Readings that make no sense: nothing is learnt of them, and it is said that there were some."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from serenity.qos.frame import Frame

# More than what the node has by this factor is no use of it.  A rate is read a moment before or after its clock, by a
# tenth of a second on a machine that is busy, and an agent may offer some CPUs less than the machine has; but nothing
# that is learnt should come from a counter that jumps.  One that is refused in error is measured again in a second,
# before what it was predicted is stale.
_BEYOND = 1.5


def without_nonsense(frame: Frame) -> tuple[Frame, int]:
    """The frame with NaN, not measured, for each use that is below 0, infinite, or more than the node has; and of how
    many readings that is true.  Where it is not known what the node has nothing is too much."""
    refused, readings = 0, frame.readings
    used_bytes, total_bytes = (readings.get(name, math.nan) for name in ("mem_used_bytes", "mem_total_bytes"))
    if used_bytes < 0 or used_bytes > total_bytes or math.isinf(total_bytes):
        refused += 1
        readings = {name: value for name, value in readings.items() if name != "mem_used_bytes"}
    mem_bytes = np.fmax(frame.node.mem_bytes, total_bytes)  # An agent keeps some of the machine's to itself.
    columns = dict(frame.columns)
    for name, capacity in (("cpu", frame.node.cpus), ("rss_bytes", mem_bytes), ("cache_bytes", mem_bytes)):
        values = frame.column(name)
        most = _BEYOND * capacity if capacity > 0 else math.inf
        bad = (values < 0) | (values > most) | np.isinf(values)
        if bad.any():
            refused += int(bad.sum())
            columns[name] = np.where(bad, np.nan, values)
    return (replace(frame, columns=columns, readings=readings) if refused else frame), refused
