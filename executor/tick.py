"""The QoS loop: each frame through the pipeline, the findings to the guard, its actions to main."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

from serenity.daemon.clock import Clock
from serenity.executor.actions import Action, CloseValve, OpenValve, Relearn, TaskView
from serenity.executor.frames import Frames
from serenity.executor.guard import Guard
from serenity.executor.inbox import Decided, Event
from serenity.qos.frame import Frame
from serenity.qos.pipeline import Pipeline
from serenity.wire.node import Overcommitment

logger = logging.getLogger(__name__)

# A tick that comes later than this after the one before is a loop that has lost its second.
_LATE_S = 3.0


class Valve(Protocol):
    def lease(self, reason: str, ttl_s: float) -> None: ...
    def release(self) -> None: ...


class TickLoop:
    """`views`: main's newest word on our tasks.  `switched_off`: whether corrections are, just now."""

    def __init__(
        self,
        frames: Frames,
        pipeline: Pipeline,
        guard: Guard,
        valve: Valve,
        lease_s: float,
        views: Callable[[], Mapping[str, TaskView]],
        put: Callable[[Event], None],
        clock: Clock,
        switched_off: Callable[[], bool],
    ) -> None:
        self._frames = frames
        self._pipeline = pipeline
        self._guard = guard
        self._valve = valve
        self._lease_s = lease_s
        self._views = views
        self._put = put
        self._clock = clock
        self._switched_off = switched_off
        self._off = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tick", daemon=True)
        self._overcommitted = False
        self._failing = False
        self._ticked_s: float | None = None
        self._valve_closed = False

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._frames.close()
        self._thread.join(5.0)
        if self._valve_closed:
            self._valve.release()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.tick(self._frames.next())
                self._failing = False
            except Exception:
                # Tasks must not die for an error in here, and production is no better off without the next tick.
                if not self._failing:
                    logger.exception("a tick failed; going on with the next one")
                self._failing = True
                self._stopping.wait(1.0)

    def tick(self, frames: list[Frame]) -> None:
        """`frames`: those that have come since the last tick; on the newest, if any, decisions are made."""
        for frame in frames[:-1]:
            self._pipeline.step(frame)
        if not frames:
            return
        self._watch_own_pace()
        self._note_overcommitment(self._frames.overcommitment)
        views = self._views()
        findings = self._pipeline.step(frames[-1])
        if self._is_off():
            actions = self._guard.stand_down()
        else:
            actions = self._guard.decide(findings, _use(frames[-1], views), views)
        for action in actions:
            self._carry_out(action)
        if actions:
            self._put(Decided(tuple(actions)))

    def _carry_out(self, action: Action) -> None:
        """What does not concern tasks; the rest is main's."""
        match action:
            case Relearn():
                self._pipeline.relearn(action.container_id)
            case CloseValve():
                self._valve_closed = True
                self._valve.lease(action.reason, self._lease_s)
            case OpenValve():
                self._valve_closed = False
                self._valve.release()

    def _is_off(self) -> bool:
        """Whether the operator has switched corrections off; signals and baselines are followed all the same."""
        off = self._switched_off()
        if off != self._off:
            logger.warning("corrections are switched %s", "off: whatever is held is let go" if off else "on")
        self._off = off
        return off

    def _watch_own_pace(self) -> None:
        now_s = self._clock.monotonic_s()
        if self._ticked_s is not None and now_s - self._ticked_s > _LATE_S:
            logger.warning("%.1f s since the last tick", now_s - self._ticked_s)
        self._ticked_s = now_s

    def _note_overcommitment(self, overcommitment: Overcommitment) -> None:
        over = overcommitment.cpus > 0 or overcommitment.mem_bytes > 0
        if over and not self._overcommitted:
            logger.warning(
                "best-effort holds %.2f cpus and %d bytes more than the slack there is now",
                overcommitment.cpus,
                overcommitment.mem_bytes,
            )
        self._overcommitted = over


def _use(frame: Frame, views: Mapping[str, TaskView]) -> dict[str, float]:
    """Cores by task, of our tasks that have a row."""
    cpu = frame.column("cpu")
    return {
        each.id: float(cpu[i]) for i, each in enumerate(frame.containers) if each.id in views and not math.isnan(cpu[i])
    }
