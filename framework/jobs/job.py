"""Jobs, their instances and attempts: a pure state machine, events in, the next state and what to do out.

A job has instances; an instance is run by one attempt after the other, and only the last
one, the current, is ever alive.  That is what "none runs twice at once" rests on: the
successor of an attempt is made in the very step that ends it.

    Launch           Seen(running)
  PENDING ────► LAUNCHING ────────► RUNNING ◄──────────► UNREACHABLE     Seen(unreachable), Seen(running)
     │              │                  │                      │
     │ KillAsked    └─────┬────────────┴──────────────────────┤
     │                    │ KillAsked, Seen(killing)          │
     │                    ▼                                   │ Ended
     │                 KILLING ───────────────────────────────┤
     ▼                                                        ▼
   KILLED                          FINISHED │ FAILED (the job's doing) │ KILLED (taken away) │ LOST

LAUNCHING and KILLING may become UNREACHABLE too.  CutOff ends an attempt that has been
UNREACHABLE for as long as its job waits, if the job has a limit: the one case in which two may
run at once.  An attempt that has ended stays as it is; if Mesos still shows its task alive, the
task is killed, since a successor may run.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from serenity.wire.mesos.quantities import format_duration
from serenity.wire.messages.api import AttemptState, JobRequest, JobState
from serenity.wire.messages.kill_record import KillRecord, Retry
from serenity.wire.messages.reasons import Payer, Reason
from serenity.wire.messages.task_end import TaskEnd
from serenity.wire.messages.task_id import format_task_id

_STORY_LINES = 20
_STEADY_S = 600.0

ENDED = frozenset({AttemptState.FINISHED, AttemptState.FAILED, AttemptState.KILLED, AttemptState.LOST})
# States in which Mesos may hold a task for the attempt.
ALIVE = frozenset({AttemptState.LAUNCHING, AttemptState.RUNNING, AttemptState.KILLING, AttemptState.UNREACHABLE})
# Reasons that are the command's own exit; every other end is a kill.
_OWN_EXIT = frozenset({Reason.COMMAND_FAILED, Reason.COMMAND_SIGNALED, Reason.LAUNCH_FAILED})

Key = tuple[str, int]  # Job id and instance.


class Job(msgspec.Struct, frozen=True, gc=False):
    """What a user has asked for; the rest follows from the attempts."""

    id: str
    name: str
    request: JobRequest
    submitted_at: float
    kill_requested_at: float | None = None
    ended_at: float | None = None
    owner: str | None = None  # Who submitted it, where the API knows.

    @property
    def kill_requested(self) -> bool:
        return self.kill_requested_at is not None

    @property
    def share_of(self) -> str:
        """The user whose share of the slack it takes: its submitter, or where that is unknown, the user it runs as."""
        return self.owner or self.request.user or ""


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where an attempt was launched.  `agent_url` is ``http://host:port`` of the agent."""

    agent_id: str
    hostname: str
    agent_url: str
    executor_id: str


class Ending(msgspec.Struct, frozen=True, gc=False):
    """How an attempt ended.  `reason` None: nobody said, and nobody guesses.

    `avoid_s`: for how long the agent is to be avoided for this job.  `lingers_s`: for how long
    the task may still run, although it has been given up.
    """

    state: AttemptState
    reason: Reason | None = None
    message: str = ""
    record: KillRecord | None = None
    avoid_s: float = 0.0
    lingers_s: float = 0.0
    measured: TaskEnd | None = None  # None: it never ran, or nobody is left who could say.


class Attempt(msgspec.Struct, frozen=True, gc=False):
    job_id: str
    instance: int
    number: int  # From 1.
    created_at: float
    not_before: float
    state: AttemptState = AttemptState.PENDING
    charged_before: int = 0  # Attempts of this instance that its retry budget has paid for.
    free_before: int = 0  # Attempts of it that nobody paid for.
    place: Place | None = None
    container_id: str | None = None  # The executor's, which holds the sandbox.
    launched_at: float | None = None
    running_at: float | None = None
    unreachable_at: float | None = None  # Since when; None while it is not.
    ended_at: float | None = None
    ending: Ending | None = None
    retry: Retry | None = None
    story: tuple[str, ...] = ()

    @property
    def task_id(self) -> str:
        return format_task_id(self.job_id, self.instance, self.number)

    @property
    def key(self) -> Key:
        return self.job_id, self.instance

    @property
    def alive(self) -> bool:
        return self.state in ALIVE

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def killed(self) -> bool:
        """Whether it ended for another reason than its own exit, and nobody had asked for that."""
        if self.ending is None or self.ending.reason is Reason.KILLED_BY_USER:
            return False
        return self.ending.state in (AttemptState.KILLED, AttemptState.LOST) or (
            self.ending.state is AttemptState.FAILED and self.ending.reason not in {None, *_OWN_EXIT}
        )


# -- events --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Launch:
    """It is about to be launched: an ACCEPT follows once this is stored."""

    place: Place


@dataclass(frozen=True, slots=True)
class Seen:
    """Mesos says that the task lives: RUNNING, KILLING or UNREACHABLE."""

    state: AttemptState
    container_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    ending: Ending


@dataclass(frozen=True, slots=True)
class KillAsked:
    """Someone wants the job gone; asked again for as long as the task lives."""


@dataclass(frozen=True, slots=True)
class CutOff:
    """Its agent has been unreachable for `Job.request.rerun_unreachable_after_s`."""


Event = Launch | Seen | Ended | KillAsked | CutOff


@dataclass(frozen=True, slots=True)
class Step:
    """What an event leads to: the attempt as it is now, and what to do."""

    attempt: Attempt
    successor: Attempt | None = None
    kill: bool = False  # Mesos is to be asked to kill the task.


class ImpossibleTransition(Exception):  # noqa: N818 - reads as what it says
    """An event that cannot come in this state: a bug here or in Mesos.  Tells the attempt's story."""

    def __init__(self, attempt: Attempt, event: Event) -> None:
        story = "; ".join(attempt.story) or "nothing has happened to it in this process"
        super().__init__(f"{attempt.task_id} is {attempt.state} and got {event}. Before: {story}")
        self.attempt = attempt


def first_attempt(job: Job, instance: int) -> Attempt:
    return Attempt(job.id, instance, 1, created_at=job.submitted_at, not_before=job.submitted_at)


def step(job: Job, attempt: Attempt, event: Event, now_s: float) -> Step:
    """One transition of the diagram above.

    Raises:
        ImpossibleTransition
    """
    match event:
        case Launch(place) if attempt.state is AttemptState.PENDING and not job.kill_requested:
            return Step(_move(attempt, AttemptState.LAUNCHING, now_s, place=place, launched_at=now_s))
        case Seen(state) if attempt.state is not AttemptState.PENDING:
            return _seen(job, attempt, state, event.container_id, now_s)
        case Ended(ending) if attempt.alive:
            return _end(job, attempt, ending, now_s)
        case Ended() if attempt.ended:
            return Step(attempt)  # Sent again: our acknowledgement was lost.
        case KillAsked() if attempt.state is AttemptState.PENDING:
            return _end(job, attempt, Ending(AttemptState.KILLED, Reason.KILLED_BY_USER), now_s)
        case KillAsked() if attempt.state is AttemptState.UNREACHABLE:
            return Step(attempt, kill=True)  # Mesos passes the kill on when the agent is back.
        case KillAsked() if attempt.alive:
            return Step(_move(attempt, AttemptState.KILLING, now_s), kill=True)
        case KillAsked():
            return Step(attempt)
        case CutOff() if attempt.state is AttemptState.UNREACHABLE:
            return _end(job, attempt, _cut_off(job), now_s)
        case CutOff():
            return Step(attempt)  # Its task has come back, or ended, just now.
    raise ImpossibleTransition(attempt, event)


def _seen(job: Job, attempt: Attempt, state: AttemptState, container_id: str | None, now_s: float) -> Step:
    if attempt.ended:
        # Believed gone, yet it runs, and a successor may run beside it.
        return Step(attempt, kill=state in (AttemptState.RUNNING, AttemptState.KILLING))
    news: dict[str, object] = {}
    if container_id is not None and container_id != attempt.container_id:
        news["container_id"] = container_id
    if (state is AttemptState.UNREACHABLE) != (attempt.unreachable_at is not None):
        news["unreachable_at"] = now_s if attempt.unreachable_at is None else None
    if state is AttemptState.RUNNING:
        if attempt.running_at is None:
            news["running_at"] = now_s
        if attempt.state is AttemptState.KILLING:
            return Step(_move(attempt, attempt.state, now_s, **news))  # A late or repeated update.
        if job.kill_requested:
            return Step(_move(attempt, AttemptState.KILLING, now_s, **news), kill=True)
    return Step(_move(attempt, state, now_s, **news))


def _cut_off(job: Job) -> Ending:
    after_s = job.request.rerun_unreachable_after_s or 0.0
    message = f"unreachable for {format_duration(after_s)}, and given up as asked; it may still run there"
    return Ending(AttemptState.LOST, Reason.AGENT_LOST, message, avoid_s=Reason.AGENT_LOST.avoid_s)


def _end(job: Job, attempt: Attempt, ending: Ending, now_s: float) -> Step:
    if job.kill_requested and ending.state is not AttemptState.FINISHED:
        reason = ending.reason if ending.record is not None else Reason.KILLED_BY_USER
        ending = replace(ending, state=AttemptState.KILLED, reason=reason, avoid_s=0.0)
    charged = ending.state is AttemptState.FAILED if ending.reason is None else ending.reason.payer is Payer.JOB
    successor = None if job.kill_requested else _successor(job, attempt, ending, charged, now_s)
    retry = None
    if ending.state is not AttemptState.FINISHED:
        avoid = (attempt.place.hostname,) if successor and attempt.place and ending.avoid_s > 0 else ()
        retry = Retry(
            charged=charged,
            attempt=successor.number if successor else None,
            not_before=successor.not_before if successor else None,
            avoid=avoid,
        )
        if ending.record is not None:
            ending = replace(ending, record=replace(ending.record, retry=retry))
    return Step(_move(attempt, ending.state, now_s, ended_at=now_s, ending=ending, retry=retry), successor)


def _successor(job: Job, attempt: Attempt, ending: Ending, charged: bool, now_s: float) -> Attempt | None:
    if ending.state is AttemptState.FINISHED:
        return None
    if charged and attempt.charged_before >= job.request.max_retries:
        return None
    most_free = job.request.max_free_retries
    if not charged and most_free is not None and attempt.free_before >= most_free:
        return None
    return Attempt(
        attempt.job_id,
        attempt.instance,
        attempt.number + 1,
        created_at=now_s,
        not_before=now_s + max(ending.lingers_s, backoff_s(attempt, ending.reason, charged, now_s)),
        charged_before=attempt.charged_before + charged,
        free_before=attempt.free_before + (not charged),
    )


def backoff_s(attempt: Attempt, reason: Reason | None, charged: bool, now_s: float) -> float:
    """How long the successor waits: doubled with each attempt of its kind, 75 % to 100 % of that; from the start
    again after an attempt that ran for `_STEADY_S`.

    The share is drawn from the task id, so that the machine stays pure and a crowd of tasks
    that ended together does not return together.
    """
    if attempt.running_at is not None and now_s - attempt.running_at >= _STEADY_S:
        attempt = replace(attempt, charged_before=0, free_before=0)
    if charged:
        first_s, longest_s, before = 2.0, 300.0, attempt.charged_before
    elif reason is not None and reason.by_qos:
        first_s, longest_s, before = 15.0, 300.0, attempt.free_before
    else:
        first_s, longest_s, before = 1.0, 60.0, attempt.free_before
    share = 0.75 + 0.25 * (zlib.crc32(attempt.task_id.encode()) % 1024) / 1023
    return float(min(longest_s, first_s * 2 ** min(before, 16)) * share)


def _move(attempt: Attempt, state: AttemptState, now_s: float, **changes: object) -> Attempt:
    if state is attempt.state:
        return replace(attempt, **changes) if changes else attempt
    story = (*attempt.story[-_STORY_LINES:], f"{attempt.state} → {state} at {now_s:.3f}")
    return replace(attempt, state=state, story=story, **changes)


def job_state(job: Job, counts: Mapping[AttemptState, int]) -> JobState:
    """The job's state from how many of its current attempts are in which state."""
    present = {state for state, count in counts.items() if count}
    if present - ENDED:
        if job.kill_requested:
            return JobState.KILLING
        waiting = {AttemptState.PENDING, AttemptState.LAUNCHING}
        return JobState.RUNNING if present - ENDED - waiting else JobState.PENDING
    if present <= {AttemptState.FINISHED}:
        return JobState.FINISHED
    return JobState.KILLED if job.kill_requested else JobState.FAILED
