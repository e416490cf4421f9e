"""The framework's store in a simulation: what is committed outlives the process, what is not does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from serenity.framework.crash_points import CrashPoint, passing
from serenity.framework.placement.cooldowns import Cooldown
from serenity.framework.store import rows
from serenity.framework.store.changes import Changes, Snapshot
from serenity.framework.store.errors import StoreBusyError
from serenity.framework.store.rows import Row
from serenity.wire.messages import api
from tests.fuzz.story import Story
from tests.fuzz.threads import Threads

T = TypeVar("T")


class Disk:
    """What `framework.store.store.Store` keeps, in dicts; `test_disk.py` compares the two."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self.busy = 0  # So many commits fail.
        self.framework_id: str | None = None
        self.jobs: dict[str, api.Job] = {}
        self.attempts: dict[str, Row] = {}  # By task id.
        self._executors: dict[tuple[str, str], Row] = {}
        self._cooldowns: dict[tuple[str, str], Row] = {}
        self._last_event_id = 0

    def commit(self, changes: Changes) -> None:
        self._story.note("disk", _Committed(changes))
        if changes.framework_id is not None:
            self.framework_id = changes.framework_id
        self.jobs.update(changes.jobs)
        for task_id, attempt in changes.attempts.items():
            self.attempts[task_id] = rows.from_attempt(attempt, task_id not in changes.superseded)
        self._executors.update({key: rows.from_executor(each) for key, each in changes.executors.items()})
        self._cooldowns.update({key: rows.from_kept(each) for key, each in changes.cooldowns.items()})
        for key in changes.executors_gone:
            self._executors.pop(key, None)
        for key in changes.cooldowns_over:
            self._cooldowns.pop(key, None)
        for event in changes.events:
            self._last_event_id = max(self._last_event_id, event.id)

    def load(self) -> Snapshot:
        alive = {job_id: job for job_id, job in self.jobs.items() if job.ended_at is None}
        current = [row for row in self.attempts.values() if row["is_current"] and row["job_id"] in alive]
        return Snapshot(
            framework_id=self.framework_id or None,
            last_job_id=max(self.jobs, default=None),
            last_event_id=self._last_event_id,
            jobs=tuple((rows.core_job(rows.to_job(rows.from_job(job))), job.kills) for job in alive.values()),
            attempts=tuple(rows.to_attempt(row) for row in current),
            executors=tuple(rows.to_executor(row) for row in self._executors.values()),
            cooldowns=tuple(Cooldown(**row) for row in self._cooldowns.values()),
        )

    def lead(self) -> bool:
        return True

    def announce(self, _url: str) -> None:
        pass

    def clean_up(self, _before_s: float, _most: int) -> int:
        return 0

    def find(self, job_id: str) -> list[api.Job]:
        return [self.jobs[job_id]] if job_id in self.jobs else []


class SimStoreWorker:
    """As `framework.store.worker.StoreWorker`.  A crash may come before a commit is durable, or right after."""

    shared = False

    def __init__(self, disk: Disk, threads: Threads) -> None:
        self._disk = disk
        self._threads = threads

    def run(self, do: Callable[[Disk], T]) -> T:
        return do(self._disk)

    def commit(self, changes: Changes) -> None:
        self._threads.give_way()
        if self._disk.busy:
            self._disk.busy -= 1
            raise StoreBusyError("cannot write the store: database is locked")
        passing(CrashPoint.WRITTEN)
        self._disk.commit(changes)
        self._threads.give_way()

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class _Committed:
    changes: Changes

    def __str__(self) -> str:
        jobs = [f"job {job.id} {job.state}" for job in self.changes.jobs.values()]
        attempts = [f"{each.task_id} {each.state}" for each in self.changes.attempts.values()]
        return f"committed {', '.join(jobs + attempts)}"
