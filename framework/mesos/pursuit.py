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
from serenity.framework.mesos.whereabouts import Whereabouts, reconciles
from serenity.wire.messages.api import AttemptState

_KILL_AGAIN_S = 10.0


class Pursuit:
    """All times are monotonic seconds."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._all_at_s = 0.0
        self._where = Whereabouts()
        self._kill = Reminders()

    def subscribed(self, now_s: float) -> None:
        """Much may have happened while nobody listened: everything is asked for."""
        self._all_at_s = now_s
        self._where.subscribed()

    def launched(self, task_id: str, now_s: float) -> None:
        self._where.launched(task_id, now_s)

    def found(self, task_id: str) -> None:
        """Mesos has told where the task is, and was believed."""
        self._where.drop(task_id)

    def ended(self, task_id: str) -> None:
        self.found(task_id)
        self._kill.drop(task_id)

    def killing(self, task_id: str, now_s: float) -> None:
        """A kill was sent; it is sent again until the task has ended."""
        self._kill.set(task_id, now_s + _KILL_AGAIN_S, pause_s=_KILL_AGAIN_S)

    def believed(self, task_id: str, now_s: float) -> bool:
        """Whether Mesos has given a doubtful answer for long enough; until then it is asked again."""
        return self._where.believed(task_id, now_s)

    def calls(self, book: Book, now_s: float) -> Iterator[Call]:
        """What is to be asked now."""
        if now_s >= self._all_at_s:
            self._all_at_s = now_s + self._every_s
            yield Reconcile()
            for attempt in book.alive():
                self._where.ask(attempt.task_id, now_s)
                job = book.job(attempt.job_id)
                if job is not None and (job.kill_requested or attempt.state is AttemptState.KILLING):
                    # The call may have been lost with the last process or subscription.
                    self._kill.set(attempt.task_id, now_s, pause_s=_KILL_AGAIN_S)
        yield from self._kills(book, now_s)
        due = self._due(self._where, book, now_s)
        yield from reconciles([(each.task_id, each.place.agent_id) for each in due if each.place])

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
