"""Task status updates on their way to the framework: one at a time, until acknowledged.

A task's first update is forwarded, and each further one only after the last was acknowledged;
an unacknowledged update is sent again after 10 s, 20 s, … up to 10 min, and at once when the
framework subscribes anew (``src/slave/task_status_update_manager.cpp``).  Pure.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from serenity.localmesos.tasks import TERMINAL_STATES
from serenity.wire.mesos.resources import Json

RETRY_MIN_S = 10.0
RETRY_MAX_S = 600.0


@dataclass(slots=True)
class _TaskUpdates:
    pending: deque[Json] = field(default_factory=deque)
    seen: set[str] = field(default_factory=set)  # Uuids of all updates that ever came.
    retry_s: float = RETRY_MIN_S
    due_s: float = 0.0


class StatusUpdates:
    """The updates of all tasks of one agent; a task is (framework id, task id)."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, str], _TaskUpdates] = {}

    def add(self, framework_id: str, status: Json, now_s: float) -> bool:
        """Takes an update in; True if it is to be forwarded now.  A duplicate changes nothing."""
        task = self._tasks.setdefault((framework_id, status["task_id"]["value"]), _TaskUpdates())
        if status["uuid"] in task.seen:
            return False
        task.seen.add(status["uuid"])
        task.pending.append(status)
        if len(task.pending) > 1:
            return False
        task.retry_s, task.due_s = RETRY_MIN_S, now_s + RETRY_MIN_S
        return True

    def acknowledge(self, framework_id: str, task_id: str, uuid: str, now_s: float) -> tuple[Json | None, Json | None]:
        """Returns the acknowledged update (None if it was not the forwarded one) and the next to forward, if any."""
        task = self._tasks.get((framework_id, task_id))
        if task is None or not task.pending or task.pending[0]["uuid"] != uuid:
            return None, None
        acknowledged = task.pending.popleft()
        if acknowledged["state"] in TERMINAL_STATES:
            del self._tasks[(framework_id, task_id)]  # No update may follow.
            return acknowledged, None
        task.retry_s, task.due_s = RETRY_MIN_S, now_s + RETRY_MIN_S
        return acknowledged, task.pending[0] if task.pending else None

    def due(self, now_s: float) -> Iterator[tuple[str, Json]]:
        """Updates to send again, with their framework's id; each waits twice as long the next time."""
        for (framework_id, _), task in self._tasks.items():
            if task.pending and task.due_s <= now_s:
                task.retry_s = min(2 * task.retry_s, RETRY_MAX_S)
                task.due_s = now_s + task.retry_s
                yield framework_id, task.pending[0]

    def of_task(self, framework_id: str, task_id: str) -> tuple[list[Json], list[str]]:
        """The updates that are not acknowledged, and the uuids of all that ever came: what `restore` takes."""
        task = self._tasks.get((framework_id, task_id), _TaskUpdates())
        return list(task.pending), sorted(task.seen)

    def restore(self, framework_id: str, task_id: str, pending: Iterable[Json], seen: Iterable[str]) -> None:
        """Restores a task's updates as they were before the agent was killed; `resend` makes them due."""
        restored = _TaskUpdates(deque(pending), set(seen), due_s=math.inf)
        if restored.pending or restored.seen:
            self._tasks[framework_id, task_id] = restored

    def resend(self, framework_id: str | None, now_s: float) -> None:
        """Makes a framework's updates, or those of all frameworks, due at once, and begins their backoff anew."""
        for (owner, _), task in self._tasks.items():
            if framework_id in (None, owner):
                task.retry_s, task.due_s = RETRY_MIN_S / 2, now_s

    def forget(self, framework_id: str) -> None:
        for key in [key for key in self._tasks if key[0] == framework_id]:
            del self._tasks[key]
