"""When another writer changes a value that we have set: wait, set it again once, then leave it for a while.

The other writer has reasons of its own, and two programs that overwrite each other every second
serve nobody.
"""

from __future__ import annotations

import enum
import logging
from dataclasses import dataclass

from serenity.daemon.clock import Clock

logger = logging.getLogger(__name__)

_APPLY_AGAIN_AFTER_S = 10.0
# For so long after giving up an actuator is not used on that task; each time twice as long.
_GIVEN_UP_S, _LONGEST_GIVEN_UP_S = 60.0, 3600.0


class Verdict(enum.Enum):
    LEAVE = "nothing to do"
    APPLY_AGAIN = "set it again"
    GIVE_UP = "leave it to the other"


@dataclass
class _Contest:
    apply_again_s: float | None = None  # None: ours is in force, or was set again.
    applied_again: bool = False
    times_given_up: int = 0
    given_up_until_s: float = 0.0


class Contests:
    """By task and actuator."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._contests: dict[tuple[str, str], _Contest] = {}

    def judge(self, task_id: str, actuator: str, foreign: str | None) -> Verdict:
        """`foreign`: what another writer has made of our value; None: it is as we set it."""
        if foreign is None:
            return Verdict.LEAVE
        now_s = self._clock.monotonic_s()
        contest = self._contests.setdefault((task_id, actuator), _Contest())
        if contest.applied_again:
            contest.applied_again = False
            contest.times_given_up += 1
            pause_s = _GIVEN_UP_S * 2 ** (contest.times_given_up - 1)
            contest.given_up_until_s = now_s + min(_LONGEST_GIVEN_UP_S, pause_s)
            return Verdict.GIVE_UP
        if contest.apply_again_s is None:
            logger.info(
                "%s of %s: another writer has changed it (%s); it is set again in %.0f s",
                *(actuator, task_id, foreign, _APPLY_AGAIN_AFTER_S),
            )
            contest.apply_again_s = now_s + _APPLY_AGAIN_AFTER_S
        if now_s < contest.apply_again_s:
            return Verdict.LEAVE
        contest.apply_again_s, contest.applied_again = None, True
        return Verdict.APPLY_AGAIN

    def given_up(self, task_id: str, actuator: str) -> str | None:
        """Why the actuator is not to be used on this task now; None when it may be."""
        contest = self._contests.get((task_id, actuator))
        if contest is None or self._clock.monotonic_s() >= contest.given_up_until_s:
            return None
        return "another writer keeps changing it"

    def forget(self, task_id: str) -> None:
        for key in [each for each in self._contests if each[0] == task_id]:
            del self._contests[key]
