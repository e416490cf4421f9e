from __future__ import annotations

import numpy as np

from serenity.qos.frame import Floats, Frame
from serenity.qos.stages import NoParameters


class Derived:
    """Derives columns ``cpi``, ``ipc`` and ``mpki`` from the counters.

        cpi = cycles / instructions     ipc = instructions / cycles     mpki = 1000 llc_misses / instructions

    NaN where a counter was not measured or the divisor is 0.
    """

    def __init__(self, parameters: NoParameters = NoParameters()) -> None:  # noqa: B008 - it has no state
        pass

    def step(self, frame: Frame) -> Frame:
        cycles, instructions = frame.column("cycles"), frame.column("instructions")
        frame = frame.with_column("cpi", _ratio(cycles, instructions))
        frame = frame.with_column("ipc", _ratio(instructions, cycles))
        return frame.with_column("mpki", _ratio(1000.0 * frame.column("llc_misses"), instructions))


def _ratio(above: Floats, below: Floats) -> Floats:
    out = np.full(len(above), np.nan)
    np.divide(above, below, out=out, where=below > 0)
    return out
