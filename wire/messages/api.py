"""The messages of the framework's HTTP API, for the command line, the dashboard and other clients.

    POST /v1/jobs                JobRequest → Job (201)
    GET  /v1/jobs                → Jobs; ?state=active|ended|all&limit=N
    GET  /v1/jobs/JOB            → JobDetail
    POST /v1/jobs/JOB/kill       → Job (202)
    GET  /v1/jobs/JOB/why        → Why
    GET  /v1/jobs/JOB/logs       → Log; ?instance=0&attempt=N&output=stdout|stderr&offset=N|lines=N
    GET  /v1/jobs/JOB/events     → server-sent events, each one an Event; so does GET /v1/events
    GET  /v1/nodes               → Nodes
    POST /v1/nodes/NODE/hold     HoldRequest → Node
    POST /v1/nodes/NODE/release  → Node
    GET  /v1/hints               → Hints (wire/messages/hints.py); /v1/hints/events: as events
    …    /v1/tokens              wire/messages/tokens.py
    GET  /v1/openapi.json        all of this in machine-readable form
    GET  /health                 → Health
    GET  /metrics                → Prometheus text

JOB is a job's id, or its name where only one job has it; NODE an agent's id, or its hostname where only one
agent is there.  Times are seconds since the epoch.
Any other status than 2xx carries a `Problem`: 400 no such shape, 401 no token, 403 not allowed,
404 not found, 409 ambiguous or taken, 410 a sandbox is gone, 413 too large, 415 no JSON, 422
refused, 429 too often, 502 an agent or the master does not answer, 503 not ready.  Clients
ignore fields that they do not know.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from serenity.wire.messages.constraints import Constraint
from serenity.wire.messages.kill_record import Retry
from serenity.wire.messages.task_end import TaskEnd
from serenity.wire.messages.uris import Uri

MIB = 1 << 20


class AttemptState(enum.StrEnum):
    """State of one attempt to run one instance; the transitions are in framework/jobs/job.py."""

    PENDING = "pending"
    LAUNCHING = "launching"
    RUNNING = "running"
    KILLING = "killing"
    UNREACHABLE = "unreachable"
    FINISHED = "finished"
    FAILED = "failed"
    KILLED = "killed"
    LOST = "lost"


class JobState(enum.StrEnum):
    """Derived from the current attempts of all instances."""

    PENDING = "pending"
    RUNNING = "running"
    KILLING = "killing"
    FINISHED = "finished"
    FAILED = "failed"
    KILLED = "killed"

    @property
    def ended(self) -> bool:
        return self in (JobState.FINISHED, JobState.FAILED, JobState.KILLED)


# These bounds catch typing errors; they are no policy.
_Text = Annotated[str, Meta(min_length=1, max_length=128 * 1024)]
_Key = Annotated[str, Meta(min_length=1, max_length=256)]
_Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class JobRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user wants to run.  `command`: an array is an argv, a string a line for ``/bin/sh``.

    `id`: chosen by the client, unique among jobs; the same request with the same id is the same job.
    `max_retries` limits retries after the job's own failures, `max_free_retries` those after all other ends; None: no
    limit.  `rerun_unreachable_after_s`: an instance whose agent is cut off for this long is run elsewhere, although it
    may still run on that agent; None: the agent is waited for.
    """

    command: (
        Annotated[tuple[Annotated[str, Meta(max_length=128 * 1024)], ...], Meta(min_length=1, max_length=4096)] | _Text
    )
    name: _Name | None = None
    id: _Name | None = None
    cpus: Annotated[float, Meta(ge=0.01, le=1024)] = 0.5
    mem_bytes: Annotated[int, Meta(ge=MIB, le=16 * 1024 * 1024 * MIB)] = 512 * MIB
    disk_bytes: Annotated[int, Meta(ge=MIB, le=1024 * 1024 * 1024 * MIB)] | None = None  # None: the agent's limit.
    instances: Annotated[int, Meta(ge=1, le=10_000)] = 1
    max_retries: Annotated[int, Meta(ge=0, le=1000)] = 3
    max_free_retries: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    max_runtime_s: Annotated[float, Meta(gt=0, le=366 * 86400)] | None = None
    grace_s: Annotated[float, Meta(ge=0, le=600)] = 5.0
    rerun_unreachable_after_s: Annotated[float, Meta(ge=0, le=366 * 86400)] | None = None
    priority: Annotated[int, Meta(ge=-1000, le=1000)] = 0
    constraints: Annotated[tuple[Constraint, ...], Meta(max_length=100)] = ()
    uris: Annotated[tuple[Uri, ...], Meta(max_length=100)] = ()
    user: _Key | None = None
    env: dict[_Key, Annotated[str, Meta(max_length=128 * 1024)]] = {}
    labels: dict[_Key, Annotated[str, Meta(max_length=4096)]] = {}

    def __post_init__(self) -> None:
        """Raises ValueError in words for the user."""
        names = [each.file_name for each in self.uris]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"uris: two would be called {twice.pop()!r} in the sandbox; give one another name")

    def require_startable(self) -> None:
        """Raises ValueError for what no system can start.  (Stores may have such jobs, so decoding does not refuse.)"""
        if not self.argv[0]:
            raise ValueError("command: its first word is empty; it is the program's name")
        given = {"command": self.argv, "user": (self.user or "",), "env": (*self.env, *self.env.values())}
        for key, texts in given.items():
            if any("\0" in each for each in texts):
                raise ValueError(f"{key}: no command, user or variable can have a NUL character in it")
        odd = next((each for each in self.env if "=" in each), None)
        if odd is not None:
            raise ValueError(f"env: no variable can be called {odd!r}, with an equals sign")

    @property
    def argv(self) -> tuple[str, ...]:
        return ("/bin/sh", "-c", self.command) if isinstance(self.command, str) else self.command


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One job as lists show it.  `counts`: how many instances are in which `AttemptState`."""

    id: str
    name: str
    state: JobState
    request: JobRequest
    counts: dict[str, int]
    submitted_at: float
    ended_at: float | None = None
    kill_requested_at: float | None = None
    kills: int = 0  # Attempts that were `killed`.
    owner: str | None = None  # The user or token that submitted it, if known.


class Jobs(msgspec.Struct, frozen=True, kw_only=True):
    """The newest first."""

    jobs: tuple[Job, ...]
    more: bool = False  # Whether `limit` cut some off.


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to run one instance of a job.

    `reason` is a code of `wire.messages.reasons.Reason`; None if none was reported, which is shown as such.
    `record` is the kill record as it came, with the retry filled in.
    """

    task: str
    instance: int
    attempt: int
    state: AttemptState
    created_at: float
    not_before: float
    agent: str | None = None
    hostname: str | None = None
    launched_at: float | None = None
    running_at: float | None = None
    ended_at: float | None = None
    reason: str | None = None
    message: str = ""
    killed: bool = False  # Ended for another reason than its own exit, and not on request.
    line: str | None = None  # The kill, in one line for people.
    retry: Retry | None = None
    record: dict[str, Any] | None = None
    measured: TaskEnd | None = None  # How it ended and what it used, as far as its executor reported.


class JobDetail(msgspec.Struct, frozen=True, kw_only=True):
    job: Job
    attempts: tuple[Attempt, ...]  # By instance, then attempt.


class EventType(enum.StrEnum):
    JOB = "job"  # Submitted, its kill requested, or its state changed.
    ATTEMPT = "attempt"
    KILL = "kill"  # An attempt ended for another reason than its own exit, and not on request.
    CORRECTION = "correction"  # What an executor did to a task, or undid.
    HINT = "hint"  # Production suffers from a container or task that no executor can correct.


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened; `id` grows by one with each, and is what ``Last-Event-ID`` resumes from."""

    id: int
    at: float
    type: EventType
    job: str | None = None
    name: str | None = None
    task: str | None = None
    state: str | None = None  # The job's or the attempt's.
    hostname: str | None = None
    reason: str | None = None
    text: str = ""  # One line for people.
    body: dict[str, Any] | None = None  # A kill's record; a correction as its executor sent it; a `Hint`.


class Why(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job is not running, or what became of it; each line is a sentence."""

    job: Job
    lines: tuple[str, ...]


class Log(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of a task's output; ``offset=next_offset`` asks for the next piece."""

    task: str
    text: str
    next_offset: int
    ended: bool  # Whether the attempt has ended: nothing more will come.


class HoldRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Place nothing new on an agent for this long; a new request replaces the one before."""

    for_s: Annotated[float, Meta(gt=0, le=30 * 86400)]
    reason: Annotated[str, Meta(max_length=1024)] = ""


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing new is placed on the agent before `until`."""

    reason: str
    since: float
    until: float


class Estimator(msgspec.Struct, frozen=True, kw_only=True):
    """The estimator on an agent, as the framework's roll-out sees it.

    `state`: launching, running, killing, away (with its agent), failed, none, or foreign (not this framework's).
    If something is wrong, `why` says what, and `remedy` what to do.
    """

    state: str
    version: str | None = None  # Changes with its command, environment, resources and release.
    outdated: bool = False
    since: float | None = None
    why: str = ""
    remedy: str = ""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One agent.  `slack_…`: the revocable resources that the agent reports; `held_…`: what best-effort has of them."""

    id: str
    hostname: str
    active: bool
    slack_cpus: float
    slack_mem_bytes: int
    held_cpus: float
    held_mem_bytes: int
    tasks: int  # This framework's, on the agent now.
    hold: Hold | None = None
    estimator: Estimator | None = None  # None: this framework rolls out none, and has none there.


class Nodes(msgspec.Struct, frozen=True, kw_only=True):
    nodes: tuple[Node, ...]
    roll_out: str = ""  # Why no further estimator is upgraded at the moment; else empty.


class Health(msgspec.Struct, frozen=True, kw_only=True):
    version: str
    framework_id: str | None
    master: str
    subscribed: bool
    jobs: int  # Not ended.
    trouble: str | None = None  # Why it is not subscribed, or cannot write its store.
    leading: bool = True  # Of several framework instances one leads, the others stand by.
    leader: str | None = None  # The URL of the leading instance, if that is another.


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request was not carried out, and what to do next; `matches`: the jobs with an ambiguous name."""

    error: str
    matches: tuple[str, ...] = ()
