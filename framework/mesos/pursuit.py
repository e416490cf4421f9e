"""Pursuit: what Mesos is asked again until it has answered.  Where is the task, and is it dead yet?

Reconciliation is explicit (task by task) after each subscription, for launches without news
and for doubtful answers, and implicit (everything that Mesos knows) on a schedule, which
finds tasks that we do not know.
"""

from __future__ import annotations

from collections.abc import Iterator

from serenity.framework.jobs.book import Book
from serenity.framework.jobs.job import Attempt
from serenity.framework.mesos.calls import Call, Kill, Reconcile
from serenity.framework.mesos.reminders import Reminders
from serenity.wire.messages.api import AttemptState

TASKS_A_RECONCILE = 1000
_LONGEST_PAUSE_S = 600.0
# No news of a launch for this long: ask.
_LAUNCH_SILENCE_S = 20.0
_KILL_AGAIN_S = 10.0
# How long Mesos must keep to an answer that may be mistaken (updates.py).  Agents return to a
# new master within a minute.
DOUBT_S = 90.0


class Pursuit:
    """All times are monotonic seconds."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._all_at_s = 0.0
        self._where = Reminders(_LONGEST_PAUSE_S)
        self._kill = Reminders(_LONGEST_PAUSE_S)
        self._doubted_since: dict[str, float] = {}

    def subscribed(self, now_s: float) -> None:
        """What happened while nobody listened: everything is asked for."""
        self._all_at_s = now_s

    def launched(self, task_id: str, now_s: float) -> None:
        self._where.set(task_id, now_s + _LAUNCH_SILENCE_S, pause_s=_LAUNCH_SILENCE_S)

    def found(self, task_id: str) -> None:
        """Mesos has told where the task is, and was believed."""
        self._where.drop(task_id)
        self._doubted_since.pop(task_id, None)

    def ended(self, task_id: str) -> None:
        self.found(task_id)
        self._kill.drop(task_id)

    def killing(self, task_id: str, now_s: float) -> None:
        """A kill was sent; it is sent again until the task has ended."""
        self._kill.set(task_id, now_s + _KILL_AGAIN_S, pause_s=_KILL_AGAIN_S)

    def believed(self, task_id: str, now_s: float) -> bool:
        """Whether Mesos has given a doubtful answer for long enough; until then it is asked again."""
        since_s = self._doubted_since.setdefault(task_id, now_s)
        if now_s - since_s >= DOUBT_S:
            return True
        self._where.set(task_id, now_s + DOUBT_S / 4, pause_s=DOUBT_S / 4)
        return False

    def calls(self, book: Book, now_s: float) -> Iterator[Call]:
        """What is to be asked now."""
        if now_s >= self._all_at_s:
            self._all_at_s = now_s + self._every_s
            yield Reconcile()
            for attempt in book.alive():
                self._where.set(attempt.task_id, now_s, pause_s=_LAUNCH_SILENCE_S)
                job = book.job(attempt.job_id)
                if job is not None and (job.kill_requested or attempt.state is AttemptState.KILLING):
                    # The call may have been lost with the last process or subscription.
                    self._kill.set(attempt.task_id, now_s, pause_s=_KILL_AGAIN_S)
        yield from self._kills(book, now_s)
        asked = [(each.task_id, each.place.agent_id) for each in self._due(self._where, book, now_s) if each.place]
        for start in range(0, len(asked), TASKS_A_RECONCILE):
            yield Reconcile(tuple(asked[start : start + TASKS_A_RECONCILE]))

    def _kills(self, book: Book, now_s: float) -> Iterator[Call]:
        for attempt in self._due(self._kill, book, now_s):
            job = book.job(attempt.job_id)
            if job is not None and attempt.place is not None:
                yield Kill(attempt.task_id, attempt.place.agent_id, job.request.grace_s)

    @staticmethod
    def _due(reminders: Reminders, book: Book, now_s: float) -> Iterator[Attempt]:
        for task_id in reminders.due(now_s):
            attempt = book.find(task_id)
            if attempt is not None and attempt.alive:
                yield attempt
            else:
                reminders.drop(task_id)
