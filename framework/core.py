"""The framework's decisions: what comes from users and from Mesos goes in, changes and calls come out.

No I/O and no threads: one caller hands in what has happened since the last round, then ends
the round.  The changes of a round must be durable before any of its calls is made; that
order is what lets the framework die at any moment:

* An attempt is LAUNCHING in the store before its ACCEPT is sent.  If the ACCEPT never was,
  reconciliation says so after the restart, and the attempt is made again for free.
* An update is acknowledged only when what it says is stored; else Mesos sends it again.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import msgspec

from serenity.daemon.clock import Clock
from serenity.framework import why
from serenity.framework.book import Book
from serenity.framework.calls import Accept, Acknowledge, Call, Decline, Kill
from serenity.framework.cooldowns import Cooldown, Cooldowns
from serenity.framework.demand import Demand
from serenity.framework.job_ids import next_id
from serenity.framework.jobs import (
    Attempt,
    Ended,
    Ending,
    Event,
    ImpossibleTransition,
    Job,
    KillAsked,
    Launch,
    Place,
    Seen,
    first_attempt,
    step,
)
from serenity.framework.placement import AgentLaunch, Executor, Offer, Wanted, place
from serenity.framework.pursuit import Pursuit
from serenity.framework.store import Changes, Snapshot
from serenity.framework.task_info import ExecutorTemplate, task_info
from serenity.framework.updates import Update, decode
from serenity.framework.views import correction_text
from serenity.wire.mesos.resources import Json, ResourceError
from serenity.wire.messages import api, corrections
from serenity.wire.messages.api import AttemptState, EventType
from serenity.wire.messages.corrections import Correction, CorrectionError, Outcome
from serenity.wire.messages.reasons import Reason

logger = logging.getLogger(__name__)

_MIB = 1 << 20
# What is left of an offer comes back soon while work waits for more, rarely otherwise.
_REFUSE_WAITING_S = 5.0
_REFUSE_IDLE_S = 300.0
# An agent leaves the executors of a removed framework its --executor_shutdown_grace_period, 5 s unless it was
# changed, and then kills them.  Nobody will tell us when their tasks are gone.
_REMOVED_LINGERS_S = 15.0


class UnknownJob(LookupError):  # noqa: N818 - reads as what it says
    """No job with that id is alive."""


@dataclass(frozen=True, slots=True)
class CoreConfig:
    executor_command: str
    executor_environment: dict[str, str]
    executor_cpus: float
    executor_mem_mb: float
    reconcile_every_s: float


@dataclass(frozen=True, slots=True)
class Round:
    """What a round has led to: first to be stored, then to be done."""

    changes: Changes
    calls: tuple[Call, ...]


class Core:
    def __init__(self, snapshot: Snapshot, config: CoreConfig, clock: Clock) -> None:
        self.framework_id = snapshot.framework_id
        self.subscribed = False
        self._book = Book(snapshot)
        self._config = config
        self._clock = clock
        self._last_job_id = snapshot.last_job_id
        self._cooldowns = Cooldowns(snapshot.cooldowns)
        self._executors: dict[str, dict[str, Executor]] = defaultdict(dict)
        for executor in snapshot.executors:
            self._executors[executor.agent_id][executor.id] = executor
        self._offers: dict[str, Offer] = {}
        self._seen_slack: dict[str, why.SeenSlack] = {}  # By agent.
        self._demand = Demand()
        self._calls: list[Call] = []
        self._pursuit = Pursuit(config.reconcile_every_s)

    # -- users -----------------------------------------------------------------------------

    def submit(self, request: api.JobRequest) -> api.Job:
        now_s = self._clock.now_s()
        self._last_job_id = next_id(self._last_job_id, now_s)
        job = Job(self._last_job_id, request.name or _name_of(request.command), request, submitted_at=now_s)
        self._book.add(job, (first_attempt(job, instance) for instance in range(request.instances)))
        return self._book.view(job.id)

    def kill(self, job_id: str) -> api.Job:
        """Asks for the end of a job; a second time changes nothing.  Raises UnknownJob."""
        job, now_s = self._job(job_id), self._clock.now_s()
        if not job.kill_requested:
            self._book.change_job(replace(job, kill_requested_at=now_s), now_s, "kill requested")
            for attempt in self._book.of_job(job_id):
                self._step(attempt, KillAsked())
        return self._book.view(job_id)

    def why(self, job_id: str) -> tuple[str, ...]:
        """Why it is not running, a sentence each.  Raises UnknownJob."""
        job = self._job(job_id)
        return why.explain(
            job,
            self._book.of_job(job_id),
            subscribed=self.subscribed,
            cooldowns=self._cooldowns.of_job(job_id),
            slack=tuple(self._seen_slack.values()),
            now_s=self._clock.now_s(),
        )

    @property
    def jobs_alive(self) -> int:
        return len(self._book)

    @property
    def last_event_id(self) -> int:
        return self._book.last_event_id

    def tasks_on(self) -> dict[str, int]:
        """How many tasks each agent holds, by agent id."""
        tasks: dict[str, int] = defaultdict(int)
        for (_, agent_id), count in self._book.on_agent.items():
            tasks[agent_id] += count
        return tasks

    # -- Mesos -----------------------------------------------------------------------------

    def subscription_began(self, framework_id: str) -> None:
        if framework_id != self.framework_id:
            self.framework_id = self._book.changes.framework_id = framework_id
        self.subscribed = True
        self._offers.clear()
        self._demand.subscribed()
        self._pursuit.subscribed(self._clock.monotonic_s())

    def subscription_ended(self) -> None:
        """Offers die with the subscription."""
        self.subscribed = False
        self._offers.clear()

    def framework_removed(self) -> None:
        """Mesos has ended the framework, and with it every task; the next subscription is a new framework's."""
        self.subscription_ended()
        self.framework_id, self._book.changes.framework_id = None, ""
        for agent_id in list(self._executors):
            self.executor_ended(agent_id, None)
        gone = Ending(AttemptState.LOST, Reason.LOST, "Mesos removed the framework", lingers_s=_REMOVED_LINGERS_S)
        for attempt in self._book.alive():
            self._step(attempt, Ended(gone))

    def offered(self, offers: Sequence[Json]) -> None:
        now_s = self._clock.now_s()
        self._demand.offers_came(now_s)
        for each in offers:
            try:
                offer = Offer.from_json(each)
            except (KeyError, ResourceError) as error:
                # It stays with us unused until Mesos rescinds it; nothing can be done with it.
                logger.error("an offer that cannot be read: %r: %s", error, each)
                continue
            self._offers[offer.id] = offer
            self._seen_slack[offer.agent_id] = why.SeenSlack(offer.hostname, offer.resources.revocable, now_s)

    def rescinded(self, offer_id: str) -> None:
        self._offers.pop(offer_id, None)

    def updated(self, status: Json) -> None:
        """A status update, or an answer to a reconciliation."""
        update = decode(status)
        if "uuid" in status:
            self._calls.append(Acknowledge(status))
        attempt = self._book.find(update.task_id)
        if attempt is None:
            self._stale(update, status)
        elif update.event is None:
            self._pursuit.found(update.task_id)
        elif update.doubtful and not self._pursuit.believed(attempt.task_id, self._clock.monotonic_s()):
            logger.info("Mesos says of %s: %s; waiting whether it stays", attempt.task_id, status["state"])
        else:
            if update.event != Seen(AttemptState.UNREACHABLE):
                self._pursuit.found(update.task_id)
            self._step(attempt, update.event)

    def executor_ended(self, agent_id: str, executor_id: str | None) -> None:
        """`executor_id` None: the agent is gone, and all of its executors."""
        known = self._executors.get(agent_id, {})
        for each in [executor_id] if executor_id is not None else list(known):
            if known.pop(each, None) is not None:
                self._book.changes.executors.pop((agent_id, each), None)
                self._book.changes.executors_gone.add((agent_id, each))

    def message(self, agent_id: str, executor_id: str, data: str) -> None:
        """From an executor; `data` is base64."""
        try:
            said = corrections.decode(data)
        except CorrectionError as error:
            logger.warning("a message of executor %s on agent %s: %s", executor_id, agent_id, error)
            return
        if isinstance(said, Outcome):
            self._book.conclude(said, self._clock.now_s())
        else:
            self._note_correction(said)

    def _note_correction(self, correction: Correction) -> None:
        attempt = self._book.find(correction.task)
        self._book.note(
            EventType.CORRECTION,
            self._clock.now_s(),
            job=self._book.job(attempt.job_id) if attempt else None,
            attempt=attempt,
            state=correction.action,
            text=correction_text(correction),
            body=msgspec.to_builtins(correction),
        )

    # -- the round ---------------------------------------------------------------------------

    def end_round(self) -> Round:
        """Does what time has brought, matches the offers at hand, and hands out what is to be done."""
        now_s = self._clock.now_s()
        fresh = self._book.come_due(now_s)
        for over in self._cooldowns.expire(now_s):
            self._drop_cooldown(over)
            fresh = True
        if self.subscribed:
            self._calls.extend(self._pursuit.calls(self._book, self._clock.monotonic_s()))
            self._match(now_s)
            call = self._demand.call(bool(self._book.due), fresh, now_s)
            if call is not None:
                self._calls.append(call)
        for job_id in self._book.forget_ended():
            for over in self._cooldowns.forget_job(job_id):
                self._drop_cooldown(over)
        calls, self._calls = tuple(self._calls), []
        return Round(self._book.take_changes(), calls)

    def _match(self, now_s: float) -> None:
        if not self._offers or self.framework_id is None:
            return
        wanted = [self._wanted(self._book.current(key)) for key in self._book.due]
        template = ExecutorTemplate(
            self.framework_id,
            self._config.executor_command,
            self._config.executor_environment,
            self._config.executor_cpus,
            self._config.executor_mem_mb,
        )
        placement = place(
            self._offers.values(),
            wanted,
            executors={agent_id: tuple(known.values()) for agent_id, known in self._executors.items()},
            template=template,
            avoid=self._cooldowns.pairs,
            running=self._book.on_agent,
        )
        for launch in placement.launches:
            self._launch(launch)
        if placement.unused:
            refuse_s = _REFUSE_WAITING_S if self._book.due else _REFUSE_IDLE_S
            self._calls.append(Decline(tuple(each.id for each in placement.unused), refuse_s))
        self._offers.clear()

    def _launch(self, launch: AgentLaunch) -> None:
        tasks, offer = [], launch.offers[0]
        for each in launch.placed:
            if each.executor.id not in self._executors[offer.agent_id]:
                self._executors[offer.agent_id][each.executor.id] = each.executor
                self._book.changes.executors_gone.discard((offer.agent_id, each.executor.id))
                self._book.changes.executors[offer.agent_id, each.executor.id] = each.executor
            pending = self._book.current(each.key)
            where = Place(offer.agent_id, offer.hostname, offer.agent_url, each.executor.id)
            attempt = self._step(pending, Launch(where))
            self._pursuit.launched(attempt.task_id, self._clock.monotonic_s())
            job = self._job(attempt.job_id)
            tasks.append(task_info(job, attempt, offer.agent_id, each.resources, each.executor.info))
        self._calls.append(Accept(tuple(each.id for each in launch.offers), tuple(tasks), _REFUSE_WAITING_S))

    def _wanted(self, attempt: Attempt) -> Wanted:
        job = self._job(attempt.job_id)
        request = job.request
        return Wanted(attempt.key, request.cpus, request.mem_bytes / _MIB, request.priority, since_s=job.submitted_at)

    # -- attempts ----------------------------------------------------------------------------

    def _step(self, attempt: Attempt, event: Event) -> Attempt:
        """Returns the attempt as it is afterwards."""
        now_s = self._clock.now_s()
        try:
            done = step(self._job(attempt.job_id), attempt, event, now_s)
        except ImpossibleTransition:
            logger.exception("this is a bug in Serenity; the event is dropped")
            return attempt
        self._book.put(done.attempt, now_s, done.successor)
        if done.kill:
            self._kill(done.attempt)
        if isinstance(event, Ended) and attempt.alive:
            self._pursuit.ended(attempt.task_id)
            self._cool_down(attempt, event.ending.avoid_s if done.successor else 0.0, now_s)
        return done.attempt

    def _cool_down(self, attempt: Attempt, avoid_s: float, now_s: float) -> None:
        if avoid_s <= 0 or attempt.place is None:
            return
        cooldown = Cooldown(attempt.job_id, attempt.place.agent_id, attempt.place.hostname, now_s + avoid_s)
        if self._cooldowns.add(cooldown):
            self._book.changes.cooldowns_over.discard(cooldown.key)
            self._book.changes.cooldowns[cooldown.key] = cooldown

    def _drop_cooldown(self, over: Cooldown) -> None:
        self._book.changes.cooldowns.pop(over.key, None)
        self._book.changes.cooldowns_over.add(over.key)

    def _kill(self, attempt: Attempt) -> None:
        assert attempt.place is not None
        self._pursuit.killing(attempt.task_id, self._clock.monotonic_s())
        job = self._book.job(attempt.job_id)
        self._calls.append(Kill(attempt.task_id, attempt.place.agent_id, job.request.grace_s if job else None))

    def _stale(self, update: Update, status: Json) -> None:
        """News of a task that is not, or no longer, ours to run: if it lives it must not."""
        if isinstance(update.event, Seen) and update.event.state is not AttemptState.UNREACHABLE:
            agent_id = status.get("agent_id", {}).get("value")
            logger.warning("%s is %s, but was given up or is not known: killing it", update.task_id, status["state"])
            self._calls.append(Kill(update.task_id, agent_id))

    def _job(self, job_id: str) -> Job:
        job = self._book.job(job_id)
        if job is None:
            raise UnknownJob(job_id)
        return job

    def next_round_s(self) -> float:
        """Seconds after which a round is needed even if nothing happens; at most one."""
        due_s = self._book.next_due_s
        return 1.0 if due_s is None else min(1.0, max(0.0, due_s - self._clock.now_s()))


def _name_of(command: Sequence[str]) -> str:
    """A job without a name is called after its program."""
    base = command[0].rsplit("/", 1)[-1]
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in base).lstrip("._-")
    return kept[:64] or "job"
