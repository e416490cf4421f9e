"""Readings that make no sense: nothing is learnt from them, and their number is reported."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from serenity.qos.frame import Frame

# A use of more than this times the node's capacity cannot be real.  There is a margin because a counter is read a
# moment before or after its clock, up to a tenth of a second on a busy machine, and because an agent may offer fewer
# CPUs than the machine has; but nothing should be learnt from a counter that jumps.  A container whose reading is
# refused in error is measured again in a second, before its prediction is stale.
_BEYOND = 1.5


def without_nonsense(frame: Frame) -> tuple[Frame, int]:
    """The frame with each use that is below 0, infinite, or more than the node can have as not measured (NaN), and the
    number of such readings.  Where the node's capacity is not known, nothing is too much."""
    refused, readings = 0, frame.readings
    used_bytes, total_bytes = (readings.get(name, math.nan) for name in ("mem_used_bytes", "mem_total_bytes"))
    if used_bytes < 0 or used_bytes > total_bytes or math.isinf(total_bytes):
        refused += 1
        readings = {name: value for name, value in readings.items() if name != "mem_used_bytes"}
    mem_bytes = np.fmax(frame.node.mem_bytes, total_bytes)  # An agent offers less than the machine has.
    columns = dict(frame.columns)
    for name, capacity in (("cpu", frame.node.cpus), ("rss_bytes", mem_bytes), ("cache_bytes", mem_bytes)):
        values = frame.column(name)
        most = _BEYOND * capacity if capacity > 0 else math.inf
        bad = (values < 0) | (values > most) | np.isinf(values)
        if bad.any():
            refused += int(bad.sum())
            columns[name] = np.where(bad, np.nan, values)
    return (replace(frame, columns=columns, readings=readings) if refused else frame), refused
