"""The QoS loop: decides at each new frame, hands to main what concerns tasks, and does the rest."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from serenity.daemon.clock import Clock
from serenity.executor.frames import Frames
from serenity.executor.guarding.accusations import accusation
from serenity.executor.guarding.actions import Accuse, Action, CloseValve, OpenValve, Relearn, TaskView
from serenity.executor.guarding.decisions import Decisions
from serenity.executor.inbox import Decided, Event
from serenity.qos.frame import Frame
from serenity.wire.messages import node
from serenity.wire.messages.node import Overcommitment
from serenity.wire.messages.statistics import KnownJobs

logger = logging.getLogger(__name__)

# A tick that comes later than this after the tick before shows that the loop has lost its second.
_LATE_S = 3.0


class Node(Protocol):
    """The estimator, and the other executors behind it."""

    def lease(self, reason: str, ttl_s: float) -> None: ...
    def release(self) -> None:
        """Of a lease that there may be."""

    def accuse(self, message: node.Accuse) -> None: ...


class TickLoop:
    """`views`: main's newest word on our tasks.  `switched_off`: whether corrections are, just now.

    `on_frame` is called with the newest frame of each tick.
    """

    def __init__(
        self,
        frames: Frames,
        decisions: Decisions,
        node: Node,
        lease_s: float,
        views: Callable[[], Mapping[str, TaskView]],
        put: Callable[[Event], None],
        clock: Clock,
        switched_off: Callable[[], bool],
        on_frame: Callable[[Frame], None] = lambda _frame: None,
    ) -> None:
        self._frames = frames
        self._decisions = decisions
        self._node = node
        self._lease_s = lease_s
        self._views = views
        self._put = put
        self._clock = clock
        self._switched_off = switched_off
        self._on_frame = on_frame
        self._known: deque[KnownJobs] = deque(maxlen=1)  # Of the cluster, and new to the pipeline.
        self._off = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tick", daemon=True)
        self._overcommitted = False
        self._failing = False
        self._ticked_s: float | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._frames.close()
        self._thread.join(5.0)
        self._node.release()

    def know(self, known: KnownJobs) -> None:
        """From any thread.  Taken up at the next tick."""
        self._known.append(known)  # By main; atomic, as is taking it.

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self.tick(self._frames.next())
                self._failing = False
            except Exception:
                # Tasks must not die for an error in here, nor would production be better off without the next tick.
                if not self._failing:
                    logger.exception("a tick failed; going on with the next one")
                self._failing = True
                self._stopping.wait(1.0)

    def tick(self, frames: list[Frame]) -> None:
        """`frames`: those that have come since the last tick; on the newest, if any, decisions are made."""
        for frame in frames[:-1]:
            self._decisions.observe(frame)
        if not frames:
            return
        self._watch_own_pace()
        self._on_frame(frames[-1])
        if self._known:
            self._decisions.know(self._known.pop())
        over = self._frames.overcommitment
        self._note_overcommitment(over)
        if self._is_off():
            actions = self._decisions.stand_down(frames[-1])
        else:
            actions = self._decisions.decide(frames[-1], over, self._views())
        for_main = tuple(each for each in actions if not self._done_here(each))
        if for_main:
            self._put(Decided(for_main))

    def _done_here(self, action: Action) -> bool:
        """Whether the action needs nothing of main.  Main, too, must know whether the valve is closed."""
        match action:
            case CloseValve():
                self._node.lease(action.reason, self._lease_s)
            case OpenValve():
                self._node.release()
            case Accuse():
                self._node.accuse(accusation(action.suspect, action.finding))
                return True
            case Relearn():
                return True
        return False

    def _is_off(self) -> bool:
        """Whether the operator has switched corrections off."""
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
