"""Where the frames come from: the estimator while it is there, else a sampler of our own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from serenity.daemon.clock import Clock
from serenity.qos.frame import Frame
from serenity.wire.messages.node import Overcommitment, TaskOnNode

logger = logging.getLogger(__name__)

# After the start or a lost connection, before we sample by ourselves: the estimator may be just restarting.
_ALONE_AFTER_S = 5.0
# Frames carry the time of day.  Those of a new connection overlap with what we know, but end no earlier than this.
_SET_BACK_S = 5.0


class OwnSampler(Protocol):
    """`qos.sources.sampler.Sampler` with its roster, behind what this module needs of it."""

    def declare(self, tasks: tuple[TaskOnNode, ...]) -> None: ...
    def sample(self, now: float) -> Frame: ...
    def close(self) -> None: ...


class Frames:
    """`received` is called by the node's thread, `next` by the tick's, `declare` by main."""

    def __init__(self, clock: Clock, make_sampler: Callable[[], OwnSampler], interval_s: float = 1.0) -> None:
        self._clock = clock
        self._make_sampler = make_sampler
        self._interval_s = interval_s
        self._came = threading.Condition()
        self._waiting: list[Frame] = []
        self._heard_s = clock.monotonic_s()
        self._last_t = float("-inf")
        self._sampler: OwnSampler | None = None
        self._tasks: tuple[TaskOnNode, ...] = ()
        self._closed = False
        self.overcommitment = Overcommitment()
        self._newest: Frame | None = None

    def received(self, frames: list[Frame], overcommitment: Overcommitment | None) -> None:
        with self._came:
            self._waiting += frames
            if overcommitment is not None:
                self.overcommitment = overcommitment
            self._heard_s = self._clock.monotonic_s()
            self._came.notify()

    def declare(self, tasks: tuple[TaskOnNode, ...]) -> None:
        self._tasks = tasks

    def close(self) -> None:
        """Ends a `next` that waits."""
        with self._came:
            self._closed = True
            self._came.notify()

    def next(self) -> list[Frame]:
        """Waits at most an interval for frames that were not seen before, oldest first."""
        with self._came:
            self._came.wait_for(lambda: bool(self._waiting) or self._closed, self._interval_s)
            frames, self._waiting = self._waiting, []
            alone = self._clock.monotonic_s() - self._heard_s > _ALONE_AFTER_S
        if self._closed:
            self._stop_sampling()
            return []
        if frames:
            self._stop_sampling()
        elif alone:
            frames = [self._sample()]
        if frames and frames[-1].t < self._last_t - _SET_BACK_S:
            logger.warning(
                "frames are %.0f s older than the last one: the clock was set back", self._last_t - frames[-1].t
            )
            self._last_t = float("-inf")
        # A new connection brings the history again, and we know part of it.
        new = [frame for frame in frames if frame.t > self._last_t]
        if new:
            self._last_t = new[-1].t
            self._newest = new[-1]
        return new

    def measured(self, row_id: str) -> dict[str, float]:
        """Of a row in the newest frame, by column.  For main: a frame is never changed, only replaced."""
        frame = self._newest
        row = frame.index(row_id) if frame is not None else None
        if frame is None or row is None:
            return {}
        return {name: float(values[row]) for name, values in frame.columns.items()}

    def _sample(self) -> Frame:
        if self._sampler is None:
            logger.warning("no estimator: sampling by ourselves, with baselines learnt from now on")
            self._sampler = self._make_sampler()
            self.overcommitment = Overcommitment()  # Nobody knows it now, and the last value would count for ever.
        self._sampler.declare(self._tasks)
        return self._sampler.sample(self._clock.now_s())

    def _stop_sampling(self) -> None:
        if self._sampler is not None:
            self._sampler.close()
            self._sampler = None
