"""Room for others within a sample: under gevent all of the process is one thread, and a launch waits for its answer."""

from __future__ import annotations

import time

# For which others may have to wait.  A turn that nobody takes costs 0.03 ms.
_AFTER_S = 2e-3
# More than nothing: of 0 gevent makes a turn for who is ready already, without a look at sockets.
_TURN_S = 1e-6


class Turns:
    """Of one sample, from its beginning on; it knows what CPU time the sample itself has cost, too."""

    def __init__(self) -> None:
        self._since_s = time.monotonic()  # The others had their last turn.
        self._began_s = time.thread_time()
        self._others_s = 0.0  # CPU time.

    def give(self) -> None:
        """Lets others go on, where they have waited for long: to be called before each file or so of many."""
        if time.monotonic() - self._since_s > _AFTER_S:
            before_s = time.thread_time()
            time.sleep(_TURN_S)
            self._others_s += time.thread_time() - before_s
            self._since_s = time.monotonic()

    @property
    def cost_s(self) -> float:
        return time.thread_time() - self._began_s - self._others_s
