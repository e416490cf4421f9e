"""Jobs whose attempts end badly as soon as they have begun, one after the other: they are launched ever more rarely.

Each instance has a backoff of its own, but a job may have ten thousand, and a job that is refused for
free is tried again for ever.  So after ten such ends in a row one instance is tried at a time, with
pauses that double, until an attempt does better.  Not stored: a framework that starts gives everybody another chance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# An attempt that has run for so long has not just come and gone.
_QUICK_S = 10.0
_IN_A_ROW = 10
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0


@dataclass(slots=True)
class _Streak:
    ends: int = 0
    next_s: float = 0.0

    @property
    def pause_s(self) -> float:
        return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(16, self.ends - _IN_A_ROW))


class Flapping:
    """By job id; times in seconds since the epoch."""

    def __init__(self) -> None:
        self._streaks: dict[str, _Streak] = {}

    def ended(self, job_id: str, *, well: bool, ran_s: float, now_s: float) -> None:
        """`well`: it has finished, or was ended on request.  `ran_s`: 0 where it never ran."""
        if well or ran_s >= _QUICK_S:
            self.forget(job_id)
            return
        streak = self._streaks.setdefault(job_id, _Streak())
        streak.ends += 1
        if streak.ends >= _IN_A_ROW:
            streak.next_s = now_s + streak.pause_s

    def launched(self, job_id: str, now_s: float) -> None:
        streak = self._streaks.get(job_id)
        if streak is not None and streak.ends >= _IN_A_ROW:
            streak.next_s = now_s + streak.pause_s

    def forget(self, job_id: str) -> None:
        self._streaks.pop(job_id, None)

    def set_back(self, now_s: float) -> None:
        """The clock was: no pause lasts longer than from now."""
        for streak in self._streaks.values():
            streak.next_s = min(streak.next_s, now_s + streak.pause_s)

    def most(self, now_s: float) -> Mapping[str, int]:
        """Of each job that flaps, how many instances may be launched now."""
        return {job_id: int(streak.next_s <= now_s) for job_id, streak in self._flapping()}

    def of_job(self, job_id: str) -> tuple[int, float] | None:
        """How many attempts in a row have ended badly, and the pause between two now; None where it does not flap."""
        streak = self._streaks.get(job_id)
        return (streak.ends, streak.pause_s) if streak is not None and streak.ends >= _IN_A_ROW else None

    def _flapping(self) -> Iterator[tuple[str, _Streak]]:
        return ((job_id, streak) for job_id, streak in self._streaks.items() if streak.ends >= _IN_A_ROW)
