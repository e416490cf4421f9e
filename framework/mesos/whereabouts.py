"""Where tasks are: asked for until Mesos has told, and doubted where its answer may be mistaken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from serenity.framework.mesos.calls import Reconcile
from serenity.framework.mesos.reminders import Reminders

_TASKS_A_RECONCILE = 1000
# No news of a launch for this long: ask.
_LAUNCH_SILENCE_S = 20.0
# How long Mesos must keep to an answer that may be mistaken (updates.py).  Agents return to a
# new master within a minute.
DOUBT_S = 90.0


class Whereabouts(Reminders):
    """By task id.  All times are monotonic seconds.

    A clock that is set must not end a doubt: a task that is believed gone is launched again, maybe beside itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self._doubted_since: dict[str, float] = {}

    def subscribed(self) -> None:
        """It may be another master, to which agents have yet to return: every doubt begins anew."""
        self._doubted_since.clear()

    def launched(self, task_id: str, now_s: float) -> None:
        self.ask(task_id, now_s + _LAUNCH_SILENCE_S)

    def ask(self, task_id: str, at_s: float) -> None:
        self.set(task_id, at_s, pause_s=_LAUNCH_SILENCE_S)

    def believed(self, task_id: str, now_s: float) -> bool:
        """Whether Mesos has given a doubtful answer for long enough; until then it is asked again."""
        since_s = self._doubted_since.setdefault(task_id, now_s)
        if now_s - since_s >= DOUBT_S:
            return True
        self.set(task_id, now_s + DOUBT_S / 4, pause_s=DOUBT_S / 4)
        return False

    def drop(self, key: str) -> None:
        """Mesos has told where the task is, and was believed; or nobody wants to know any more."""
        super().drop(key)
        self._doubted_since.pop(key, None)


def reconciles(tasks: Sequence[tuple[str, str]]) -> Iterator[Reconcile]:
    """Asks for these tasks, in parts; (task id, agent id) each."""
    for start in range(0, len(tasks), _TASKS_A_RECONCILE):
        yield Reconcile(tuple(tasks[start : start + _TASKS_A_RECONCILE]))
