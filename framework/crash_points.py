"""Where the framework may be killed: every point at which what is stored and what others know may differ.

In the order in which a launch and its updates pass them.  What must hold at each: no accepted
job is lost, and none runs twice at once.  `tests/framework/test_crash_points.py` kills it at all
of them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable


class CrashPoint(enum.IntEnum):
    DECIDED = 1  # A round is decided; nothing of it is stored.
    WRITTEN = 2  # The round is written, and not committed.
    COMMITTED = 3  # The round is stored; nobody has an answer, and Mesos has not been called.
    ANSWERED = 4  # Users have their answers; Mesos has not been called.
    QUEUED = 5  # The calls wait for the sender.
    ACCEPTING = 6  # The intent to launch is stored, the ACCEPT not sent.
    ACCEPTED = 7  # Mesos launches.
    ACKNOWLEDGING = 8  # The update is stored, its acknowledgement not sent.
    ACKNOWLEDGED = 9  # Mesos has forgotten the update.
    KILLING = 10  # The wish to kill is stored, the KILL not sent.
    KILLED = 11  # Mesos has been told to kill.


def _go_on(point: CrashPoint) -> None:
    """Nothing happens, in production."""


# The one seam: tests put something deadly here.
_reached: Callable[[CrashPoint], None] = _go_on


def passing(point: CrashPoint) -> None:
    _reached(point)


def when_passing(do: Callable[[CrashPoint], None] | None) -> None:
    """For tests: `do` is called at every point from now on; None: nothing is."""
    global _reached
    _reached = do or _go_on
