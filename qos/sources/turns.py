"""Room for others within a sample: under gevent all of the process is one thread, and a launch waits for its answer."""

from __future__ import annotations

import time

# More than nothing: of 0 gevent makes a turn for who is ready already, without a look at sockets.
_TURN_S = 1e-6


class Turns:
    """Of one sample, from its beginning on; it knows what CPU time the sample itself has cost, too."""

    def __init__(self) -> None:
        self._since_s = time.thread_time()  # The others had their last turn.
        self._before_s = 0.0  # What the sample had cost by then.

    def give(self, after_s: float) -> None:
        """Lets others go on, where they have waited for so long."""
        if (took_s := time.thread_time() - self._since_s) > after_s:
            time.sleep(_TURN_S)
            self._since_s, self._before_s = time.thread_time(), self._before_s + took_s

    @property
    def cost_s(self) -> float:
        return self._before_s + time.thread_time() - self._since_s
