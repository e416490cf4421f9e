"""The book: all jobs that have not ended, in memory, and what has changed since the last commit."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable

from msgspec.structs import replace

from serenity.framework.jobs.job import ALIVE, Attempt, Job, Key
from serenity.framework.jobs.views import attempt_text, concluded, job_view, one_line, record_json
from serenity.framework.placement.lines import Ask, Lines
from serenity.framework.placement.place import Held
from serenity.framework.store.changes import Changes, Snapshot
from serenity.wire.messages import api
from serenity.wire.messages.api import AttemptState, EventType
from serenity.wire.messages.corrections import Outcome
from serenity.wire.messages.task_id import parse_task_id

_CONCLUDED = 1000


class Book:
    """Jobs, their current attempts, and indexes over them.

    Every write is noted in `changes`, together with the events that watchers see.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.changes = Changes()
        self.lines = Lines()  # Instances that are pending, and may run now.
        self.on_agents: dict[str, Counter[str]] = {}  # How many attempts are alive, by job id and agent id; no zeros.
        self.held: dict[str, Held] = {}  # By attempts that are alive, for each user.
        self._jobs = {job.id: job for job, _ in snapshot.jobs}
        self._kills = {job.id: kills for job, kills in snapshot.jobs}
        self._current: dict[Key, Attempt] = {}
        self._counts: dict[str, Counter[AttemptState]] = {job_id: Counter() for job_id in self._jobs}
        self._states: dict[str, api.JobState] = {}
        self._later: list[tuple[float, Key]] = []  # Pending attempts that wait for their time, by that time.
        self._cut_off: list[tuple[float, Key]] = []  # Unreachable attempts, by the time when they are given up.
        self._by_submit_id = {job.request.id: job.id for job, _ in snapshot.jobs if job.request.id is not None}
        self._concluded: deque[str] = deque(maxlen=_CONCLUDED)  # Records whose outcome watchers have been told.
        self._last_event_id = snapshot.last_event_id
        for attempt in snapshot.attempts:
            self._index(attempt)
        for job_id in self._jobs:
            self._states[job_id] = self.view(job_id).state

    # -- reading ---------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def last_event_id(self) -> int:
        return self._last_event_id

    def job(self, job_id: str) -> Job | None:
        """None when there is none, or it has ended."""
        return self._jobs.get(job_id)

    def submitted_as(self, submit_id: str) -> api.Job | None:
        """The job that its client has given this id."""
        job_id = self._by_submit_id.get(submit_id)
        return None if job_id is None else self.view(job_id)

    def current(self, key: Key) -> Attempt:
        return self._current[key]

    def find(self, task_id: str) -> Attempt | None:
        """The attempt that a task id names, if it is the current one of a job that has not ended."""
        parts = parse_task_id(task_id)
        attempt = self._current.get((parts.job_id, parts.instance)) if parts is not None else None
        return attempt if attempt is not None and attempt.task_id == task_id else None

    def of_job(self, job_id: str) -> list[Attempt]:
        job = self._jobs.get(job_id)
        return [self._current[job_id, i] for i in range(job.request.instances)] if job else []

    def alive(self) -> Iterable[Attempt]:
        """Every attempt that Mesos may hold a task for."""
        return [attempt for attempt in self._current.values() if attempt.state in ALIVE]

    def view(self, job_id: str) -> api.Job:
        return job_view(self._jobs[job_id], self._counts[job_id], self._kills[job_id])

    @property
    def next_due_s(self) -> float | None:
        return self._later[0][0] if self._later else None

    # -- writing ---------------------------------------------------------------------------

    def add(self, job: Job, attempts: Iterable[Attempt]) -> None:
        self._jobs[job.id] = job
        if job.request.id is not None:
            self._by_submit_id[job.request.id] = job.id
        self._kills[job.id] = 0
        self._counts[job.id] = Counter()
        for attempt in attempts:
            self._index(attempt)
            self.changes.attempts[attempt.task_id] = attempt
        self._states[job.id] = self.view(job.id).state
        self.changes.jobs[job.id] = self.view(job.id)
        self.note(EventType.JOB, job.submitted_at, job=job, state="submitted", text="submitted")

    def change_job(self, job: Job, now_s: float, text: str) -> None:
        self._jobs[job.id] = job
        self._follow(job.id, now_s, text)

    def put(self, attempt: Attempt, now_s: float, successor: Attempt | None = None) -> None:
        """The next state of a current attempt, and what takes its place if it has ended."""
        before = self._current[attempt.key]
        if before == attempt:
            return
        self._unindex(before)
        self._index(attempt)
        self.changes.attempts[attempt.task_id] = attempt
        if before.state is not attempt.state:
            self._tell(attempt, now_s)
        if successor is not None:
            self._unindex(attempt)
            self._index(successor)
            self.changes.superseded.add(attempt.task_id)
            self.changes.attempts[successor.task_id] = successor
        self._follow(attempt.job_id, now_s)

    def conclude(self, outcome: Outcome, now_s: float) -> None:
        """What an eviction has led to, for its kill record, which the store has, or which is still on its way."""
        parts = parse_task_id(outcome.task)
        if outcome.record is None or parts is None:
            return
        if outcome.record not in self._concluded:  # Executors say it several times.
            job, text = self._jobs.get(parts.job_id), f"{outcome.action}: {one_line(outcome.outcome)}"
            self.note(EventType.CORRECTION, now_s, job=job, task=outcome.task, state=outcome.action, text=text)
            self._concluded.append(outcome.record)
        self.changes.outcomes[outcome.task] = outcome
        attempt = self.find(outcome.task)
        if attempt is not None and attempt.ending is not None and attempt.ending.record is not None:
            record = concluded(attempt.ending.record, outcome)
            self._current[attempt.key] = replace(attempt, ending=replace(attempt.ending, record=record))

    def come_due(self, now_s: float) -> bool:
        """Lets the pending attempts whose time has come stand in line; whether there were any."""
        found = False
        while self._later and self._later[0][0] <= now_s:
            _, key = heapq.heappop(self._later)
            attempt = self._current.get(key)
            if attempt is not None and attempt.state is AttemptState.PENDING and attempt.not_before <= now_s:
                self.lines.add(self._jobs[attempt.job_id], attempt.instance)
                found = True
        return found

    def given_up(self, now_s: float) -> list[Attempt]:
        """Attempts that have been unreachable for as long as their jobs wait.  Each is told once."""
        found = []
        while self._cut_off and self._cut_off[0][0] <= now_s:
            at_s, key = heapq.heappop(self._cut_off)
            attempt = self._current.get(key)
            if attempt is not None and self._given_up_at(attempt) == at_s:
                found.append(attempt)
        return found

    def set_back(self, now_s: float) -> None:
        """The clock was: whoever has waited since a time that is yet to come begins to wait now."""
        for attempt in list(self._current.values()):
            if attempt.state is AttemptState.PENDING and attempt.created_at > now_s:
                wait_s = attempt.not_before - attempt.created_at
                waiting = replace(attempt, created_at=now_s, not_before=now_s + wait_s)
            elif attempt.unreachable_at is not None and attempt.unreachable_at > now_s:
                waiting = replace(attempt, unreachable_at=now_s)
            else:
                continue
            self._unindex(attempt)
            self._index(waiting)
            self.changes.attempts[waiting.task_id] = waiting

    def forget_ended(self) -> list[str]:
        """Drops the jobs that have ended; the store keeps them."""
        ended = [job_id for job_id in self.changes.jobs if self._states[job_id].ended]
        for job_id in ended:
            request = self._jobs[job_id].request
            for instance in range(request.instances):
                self._unindex(self._current.pop((job_id, instance)))
            if request.id is not None:
                del self._by_submit_id[request.id]
            del self._jobs[job_id], self._kills[job_id], self._counts[job_id], self._states[job_id]
        return ended

    def take_changes(self) -> Changes:
        changes, self.changes = self.changes, Changes()
        return changes

    def note(
        self,
        kind: EventType,
        at_s: float,
        *,
        job: Job | None = None,
        attempt: Attempt | None = None,
        task: str | None = None,
        state: str | None = None,
        hostname: str | None = None,
        text: str = "",
        body: dict[str, object] | None = None,
    ) -> None:
        """Adds an event for watchers."""
        self._last_event_id += 1
        ending = attempt.ending if attempt else None
        if attempt is not None and attempt.place is not None:
            hostname = attempt.place.hostname
        event = api.Event(
            id=self._last_event_id,
            at=at_s,
            type=kind,
            job=job.id if job else None,
            name=job.name if job else None,
            task=attempt.task_id if attempt else task,
            state=state,
            hostname=hostname,
            reason=ending.reason.code if ending and ending.reason else None,
            text=text,
            body=body,
        )
        self.changes.events.append(event)

    def _tell(self, attempt: Attempt, now_s: float) -> None:
        if attempt.killed:
            self._kills[attempt.job_id] += 1
        self.note(
            EventType.KILL if attempt.killed else EventType.ATTEMPT,
            now_s,
            job=self._jobs[attempt.job_id],
            attempt=attempt,
            state=attempt.state.value,
            text=attempt_text(attempt),
            body=record_json(attempt),
        )

    def _follow(self, job_id: str, now_s: float, text: str = "") -> None:
        """Derives the job's state anew, and tells when it has changed."""
        view = self.view(job_id)
        state = view.state
        changed, self._states[job_id] = state is not self._states[job_id], state
        if state.ended and view.ended_at is None:
            self._jobs[job_id] = replace(self._jobs[job_id], ended_at=now_s)
            view = replace(view, ended_at=now_s)
        self.changes.jobs[job_id] = view
        if changed or text:
            self.note(EventType.JOB, now_s, job=self._jobs[job_id], state=state.value, text=text or f"job {state}")

    def _index(self, attempt: Attempt) -> None:
        self._current[attempt.key] = attempt
        self._counts[attempt.job_id][attempt.state] += 1
        if attempt.state is AttemptState.PENDING:
            heapq.heappush(self._later, (attempt.not_before, attempt.key))
        if attempt.alive and attempt.place is not None:
            job = self._jobs[attempt.job_id]
            self.on_agents.setdefault(job.id, Counter())[attempt.place.agent_id] += 1
            self.held[job.share_of] = self.held.get(job.share_of, Held()) + Ask.of(job)
        given_up_at = self._given_up_at(attempt)
        if given_up_at is not None:
            heapq.heappush(self._cut_off, (given_up_at, attempt.key))

    def _unindex(self, attempt: Attempt) -> None:
        self._counts[attempt.job_id][attempt.state] -= 1
        self.lines.remove(attempt.key)
        if attempt.alive and attempt.place is not None:
            job, agent_id = self._jobs[attempt.job_id], attempt.place.agent_id
            on_agents = self.on_agents[job.id]
            on_agents[agent_id] -= 1
            if not on_agents[agent_id]:
                del on_agents[agent_id]
            if not on_agents:
                del self.on_agents[job.id]
            held = self.held.pop(job.share_of) - Ask.of(job)
            if held != Held():
                self.held[job.share_of] = held

    def _given_up_at(self, attempt: Attempt) -> float | None:
        after_s = self._jobs[attempt.job_id].request.rerun_unreachable_after_s
        return None if after_s is None or attempt.unreachable_at is None else attempt.unreachable_at + after_s
