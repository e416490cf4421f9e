from __future__ import annotations

from serenity.qos.frame import Frame
from serenity.qos.stages import NoParameters


class PrExecutorPass:
    """Drops the best-effort rows.

    For the slack pipeline.  Before a detector it would hide the only possible culprits, and
    the ``drop`` detector is silent where no best-effort row is.

    Source: Serenity's production executor pass filter (2016).
    """

    def __init__(self, parameters: NoParameters = NoParameters()) -> None:  # noqa: B008 - it has no state
        pass

    def step(self, frame: Frame) -> Frame:
        return frame.select(frame.production)
