from __future__ import annotations

from dataclasses import dataclass

from serenity.qos.frame import Frame
from serenity.qos.stages import Parameters, parameter


@dataclass(frozen=True)
class ValveParameters(Parameters):
    reading: str = parameter("valve_closed", "", "the node's reading that closes it")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.reading:
            raise ValueError('reading = ""; write the name of a reading, such as "valve_closed"')


class Valve:
    """Stops the chain while a reading of the node says so: all rows are dropped while it is greater than 0.

    A missing reading leaves the valve open.  Later stages forget the dropped containers, and learn
    them anew.  For chains that only watch: while the executor acts on a contention it keeps ``valve_closed``
    at 1, so that a chain that acts would no longer see the contention that it has just found.  To
    stop corrections, and nothing else, there is ``qos-off``.

    Source: Serenity's valve filter (2016), which an HTTP endpoint opened and closed.
    """

    def __init__(self, parameters: ValveParameters) -> None:
        self._reading = parameters.reading

    def step(self, frame: Frame) -> Frame:
        return frame.select(frame.production & False) if frame.readings.get(self._reading, 0.0) > 0 else frame
