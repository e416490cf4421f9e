"""Room for others within a sample: under gevent all of the process is one thread, and a launch waits for its answer."""

from __future__ import annotations

import time

# How long others may have to wait for a turn.  A turn that none of them takes costs 0.03 ms.
_AFTER_S = 2e-3
# More than 0: gevent's sleep(0) yields only to greenlets that are ready already, without polling sockets.
_TURN_S = 1e-6


class Turns:
    """The turns within one sample, from its beginning on; also counts the CPU time of the sample itself."""

    def __init__(self) -> None:
        self._since_s = time.monotonic()  # When the others had their last turn.
        self._began_s = time.thread_time()
        self._others_s = 0.0  # CPU time of the others in their turns.

    def give(self) -> None:
        """Lets other greenlets run if they have waited for long.  To be called before each file or so of many."""
        if time.monotonic() - self._since_s > _AFTER_S:
            before_s = time.thread_time()
            time.sleep(_TURN_S)
            self._others_s += time.thread_time() - before_s
            self._since_s = time.monotonic()

    @property
    def cost_s(self) -> float:
        return time.thread_time() - self._began_s - self._others_s
