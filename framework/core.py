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
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field

import msgspec

from serenity.daemon.clock import Clock
from serenity.framework.cluster.cluster import Cluster
from serenity.framework.estimators.rollout import Plan, Rollout
from serenity.framework.estimators.task import TaskId
from serenity.framework.hearing import Hearing
from serenity.framework.jobs import why
from serenity.framework.jobs.book import Book
from serenity.framework.jobs.ids import next_id
from serenity.framework.jobs.job import (
    Attempt,
    CutOff,
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
from serenity.framework.mesos.calls import Accept, AcceptInverseOffers, Acknowledge, Call, Kill
from serenity.framework.mesos.maintenance import Maintenance, told_why
from serenity.framework.mesos.old_executors import shutdowns
from serenity.framework.mesos.pursuit import Pursuit
from serenity.framework.mesos.task_info import ExecutorTemplate, task_info
from serenity.framework.mesos.updates import Update, decode
from serenity.framework.placement import refusals
from serenity.framework.placement.agents import Executor, Offer
from serenity.framework.placement.cooldowns import Cooldown, Cooldowns
from serenity.framework.placement.demand import Demand
from serenity.framework.placement.flapping import Flapping
from serenity.framework.placement.holds import Hold, Holds
from serenity.framework.placement.place import AgentLaunch, Remembered, place
from serenity.framework.placement.refusals import declines
from serenity.framework.store.changes import Changes, Snapshot
from serenity.wire.mesos.resources import Json, ResourceError
from serenity.wire.messages import api
from serenity.wire.messages.api import AttemptState
from serenity.wire.messages.reasons import Reason

logger = logging.getLogger(__name__)

# An agent leaves the executors of a removed framework its --executor_shutdown_grace_period, 5 s unless it was
# changed, and then kills them.  Nobody will tell us when their tasks are gone.
_REMOVED_LINGERS_S = 15.0
# What brings the clock back to the right time does so in smaller steps.
_SET_BACK_S = 1.0
# What reading JSON of another shape raises: a KeyError for what is missing, the rest for what is of another type.
_NOT_AS_MESOS_SAYS_IT = (KeyError, TypeError, AttributeError, ResourceError)


class UnknownJob(LookupError):  # noqa: N818 - reads as what it says
    """No job with that id is alive."""


class IdTaken(ValueError):  # noqa: N818
    """Something else was submitted with the same id."""


@dataclass(frozen=True, slots=True)
class CoreConfig:
    executor_command: str
    executor_environment: dict[str, str]
    executor_cpus: float
    executor_mem_mb: float
    reconcile_every_s: float
    role: str = "serenity"
    estimators: Plan = field(default_factory=Plan)


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
        self._flapping = Flapping()
        self._holds = Holds(snapshot.holds)
        self._executors: dict[str, dict[str, Executor]] = defaultdict(dict)
        for executor in snapshot.executors:
            self._executors[executor.agent_id][executor.id] = executor
        self._offers: dict[str, Offer] = {}
        self._seen_slack: dict[str, why.SeenSlack] = {}  # By agent.
        self.heard = Hearing(self._book, Cluster(snapshot.antagonists, snapshot.job_cpi, snapshot.slo_periods))
        self._maintenance = Maintenance()
        self.rollout = Rollout(config.estimators, snapshot.estimators, clock.monotonic_s())
        # For the slack's role alone; whether offers of an estimators' role are wanted is another matter.
        self._demand = Demand((config.role,) if self.rollout.on else ())
        self._calls: list[Call] = []
        self._pursuit = Pursuit(config.reconcile_every_s)
        self._round_s = math.inf  # When the last round was; what is in the store may be of a time that is yet to come.

    # -- users -----------------------------------------------------------------------------

    def submit(self, request: api.JobRequest, owner: str | None = None) -> api.Job:
        """Raises IdTaken."""
        known = self._book.submitted_as(request.id) if request.id is not None else None
        if known is not None:
            return same_job(known, request, owner)
        now_s = self._clock.now_s()
        self._last_job_id = next_id(self._last_job_id, now_s)
        job = Job(self._last_job_id, request.name or _name_of(request.argv), request, submitted_at=now_s, owner=owner)
        self._book.add(job, (first_attempt(job, instance) for instance in range(request.instances)))
        return self._book.view(job.id)

    def kill(self, job_id: str) -> api.Job:
        """Asks for the end of a job; a second time changes nothing.  Raises UnknownJob."""
        job, now_s = self._job(job_id), self._clock.now_s()
        if not job.kill_requested:
            self._book.change_job(msgspec.structs.replace(job, kill_requested_at=now_s), now_s, "kill requested")
            for attempt in self._book.of_job(job_id):
                self._step(attempt, KillAsked())
        return self._book.view(job_id)

    def why(self, job_id: str) -> tuple[str, ...]:
        """Why the job is not running, a sentence each.  Raises UnknownJob."""
        job, attempts = self._job(job_id), self._book.of_job(job_id)
        apart = self.heard.apart(job, self._clock.now_s())
        lines = why.explain(
            job,
            attempts,
            why.Situation(
                subscribed=self.subscribed,
                cooldowns=self._cooldowns.of_job(job_id),
                flapping=self._flapping.of_job(job_id),
                slack=tuple(self._seen_slack.values()),
                lines=self._book.lines,
                held=self._book.held,
                now_s=self._clock.now_s(),
                apart={self._hostname(agent): each for agent, each in apart.items()},
            ),
        )
        if any(each.state is AttemptState.PENDING for each in attempts):
            lines += tuple(each.sentence(self._clock.now_s()) for each in self._holds)
            lines += why.spared(self.heard.hints.spared(self._clock.now_s()))
        return lines

    # -- operators ---------------------------------------------------------------------------

    def hold(self, hold: Hold) -> None:
        """Nothing is launched on that agent until it is released, or the hold is over; what runs there goes on."""
        for_s = hold.until - hold.since
        logger.info("%s (%s) is held for %.0f s: %s", hold.hostname, hold.agent_id, for_s, hold.reason)
        self._holds.put(hold)
        self._book.changes.holds_over.discard(hold.agent_id)
        self._book.changes.holds[hold.agent_id] = hold

    def release(self, agent_id: str) -> bool:
        """False where the agent is not held."""
        return self._holds.release(agent_id, self._clock.now_s())

    @property
    def holds(self) -> dict[str, Hold]:
        """By agent id."""
        return {each.agent_id: each for each in self._holds}

    @property
    def jobs_alive(self) -> int:
        return len(self._book)

    @property
    def last_event_id(self) -> int:
        return self._book.last_event_id

    def tasks_on(self) -> dict[str, int]:
        """How many tasks each agent holds, by agent id."""
        tasks: dict[str, int] = defaultdict(int)
        for on_agents in self._book.on_agents.values():
            for agent_id, count in on_agents.items():
                tasks[agent_id] += count
        return tasks

    # -- Mesos -----------------------------------------------------------------------------

    def subscription_began(self, framework_id: str) -> None:
        if framework_id != self.framework_id:
            self.framework_id = self._book.changes.framework_id = framework_id
        self.subscribed = True
        self._offers.clear()
        self._maintenance.forget()
        self._demand.subscribed()
        self.rollout.subscribed(self._clock.monotonic_s())
        self._pursuit.subscribed(self._clock.monotonic_s())

    def subscription_ended(self) -> None:
        """Offers die with the subscription."""
        self.subscribed = False
        self._offers.clear()
        self.rollout.unsubscribed()

    def framework_removed(self) -> None:
        """Mesos has ended the framework, and with it every task; the next subscription is a new framework's."""
        self.subscription_ended()
        self.framework_id, self._book.changes.framework_id = None, ""
        for agent_id in list(self._executors):
            self.executor_ended(agent_id, None)
        self.rollout.framework_removed(self._clock.monotonic_s(), _REMOVED_LINGERS_S)
        gone = Ending(AttemptState.LOST, Reason.LOST, "Mesos removed the framework", lingers_s=_REMOVED_LINGERS_S)
        for attempt in self._book.alive():
            self._step(attempt, Ended(gone))

    def offered(self, offers: Sequence[Json]) -> None:
        now_s = self._clock.now_s()
        for each in offers:
            try:
                offer = Offer.from_json(each)
                self._maintenance.offered(offer.agent_id, each.get("unavailability"))
            except _NOT_AS_MESOS_SAYS_IT as error:
                # The offer stays with us unused until Mesos rescinds it; nothing can be done with it.
                logger.error("an offer that cannot be read: %r: %s", error, each)
                continue
            if self.rollout.on and each.get("allocation_info", {}).get("role") == self.rollout.plan.template.role:
                self.rollout.offered(offer)
                continue
            self._demand.offers_came(now_s)
            self._offers[offer.id] = offer
            self._seen_slack[offer.agent_id] = why.SeenSlack.of(offer, now_s)

    def rescinded(self, offer_id: str) -> None:
        self._offers.pop(offer_id, None)
        self.rollout.rescinded(offer_id)

    def asked_back(self, inverse_offers: Sequence[Json]) -> None:
        """Maintenance is planned: agents are closed in time, and then drained."""
        read = []
        for each in inverse_offers:
            try:
                read.append(self._maintenance.asked_back(each))
            except _NOT_AS_MESOS_SAYS_IT as error:
                logger.error("an inverse offer that cannot be read: %r: %s", error, each)
        if read:
            self._calls.append(AcceptInverseOffers(tuple(read)))

    def called_off(self, inverse_offer_id: str) -> None:
        self._maintenance.called_off(inverse_offer_id)

    def updated(self, status: Json) -> None:
        """A status update, or an answer to a reconciliation."""
        update = decode(status)
        if "uuid" in status:
            self._calls.append(Acknowledge(status))
        estimator = TaskId.parse(update.task_id)
        if estimator is not None:
            self.rollout.updated(update, estimator, self._clock.monotonic_s())
            return
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
            self._step(attempt, told_why(update.event, attempt, self._job(attempt.job_id)))

    def executor_ended(self, agent_id: str, executor_id: str | None) -> None:
        """`executor_id` None: the agent is gone, and all of its executors."""
        if executor_id is None:
            self._seen_slack.pop(agent_id, None)
            self.heard.cluster.agent_gone(agent_id)
        known = self._executors.get(agent_id, {})
        for each in [executor_id] if executor_id is not None else list(known):
            if known.pop(each, None) is not None:
                self._book.changes.executors.pop((agent_id, each), None)
                self._book.changes.executors_gone.add((agent_id, each))

    def message(self, agent_id: str, executor_id: str, data: str) -> None:
        """From an executor; `data` is base64."""
        seen = self._seen_slack.get(agent_id)
        hostname = seen.hostname if seen is not None else None
        answer = self.heard.message(agent_id, hostname, executor_id, data, self._clock.now_s())
        if answer is not None:
            self._calls.append(answer)

    # -- the round ---------------------------------------------------------------------------

    def end_round(self) -> Round:
        """Does what time has brought, matches the offers at hand, and hands out what is to be done."""
        now_s = self._clock.now_s()
        if now_s < self._round_s - _SET_BACK_S:
            self._clock_was_set_back(now_s)
        self._round_s = now_s
        for attempt in self._book.given_up(now_s):
            self._step(attempt, CutOff())
        fresh = self._book.come_due(now_s)
        for over in self._cooldowns.expire(now_s):
            self._drop_cooldown(over)
            fresh = True
        for agent in self._holds.expire(now_s):
            logger.info("%s (%s) is held no more", agent.hostname, agent.agent_id)
            self._book.changes.holds.pop(agent.agent_id, None)
            self._book.changes.holds_over.add(agent.agent_id)
            fresh = True
        fresh |= self.heard.forget(now_s)
        self.heard.keep(now_s)
        for attempt in self._maintenance.leaving(self._book.alive, now_s):
            self._kill(self._step(attempt, Seen(AttemptState.KILLING)))
        if self.subscribed:
            self._calls.extend(self._pursuit.calls(self._book, self._clock.monotonic_s()))
            self._match(now_s)
            call = self._demand.call(bool(self._book.lines), fresh, now_s)
            if call is not None:
                self._calls.append(call)
        self._roll_out(now_s)
        for job_id in self._book.forget_ended():
            self._flapping.forget(job_id)
            for over in self._cooldowns.forget_job(job_id):
                self._drop_cooldown(over)
        calls, self._calls = tuple(self._calls), []
        return Round(self._book.take_changes(), calls)

    def _clock_was_set_back(self, now_s: float) -> None:
        """What waits for a time would wait for as much longer, which may be years."""
        if self._round_s < math.inf:
            logger.warning("the clock was set back by %.0f s", self._round_s - now_s)
        self._book.set_back(now_s)
        self._book.changes.cooldowns.update((each.key, each) for each in self._cooldowns.set_back(now_s))
        self._book.changes.holds.update((each.agent_id, each) for each in self._holds.set_back(now_s))
        self._flapping.set_back(now_s)

    def _match(self, now_s: float) -> None:
        if not self._offers or self.framework_id is None:
            return
        template = ExecutorTemplate(
            self.framework_id,
            self._config.executor_command,
            self._config.executor_environment,
            self._config.executor_cpus,
            self._config.executor_mem_mb,
        )
        closed: list[Offer] = []
        spared: list[Offer] = []
        usable: list[Offer] = []
        suffering = self.heard.hints.spared(now_s)
        for each in self._offers.values():
            if self._closed(each.agent_id, now_s):
                closed.append(each)
            else:
                (spared if each.agent_id in suffering else usable).append(each)
        # Refused for long: when a hold is over, a REVIVE brings the offers back.
        self._calls.extend(declines(closed, waiting=False))
        placement = place(
            usable,
            self._book.lines,
            executors={
                offer.agent_id: tuple(self._executors[offer.agent_id].values()) for offer in self._offers.values()
            },
            template=template,
            remembered=Remembered(
                avoid=self.heard.avoided(self._cooldowns.agents, now_s),
                running=self._book.on_agents,
                most=self._flapping.most(now_s),
                held=self._book.held,
            ),
        )
        for launch in placement.launches:
            self._launch(launch)
        self._calls.extend(declines([*placement.unused, *spared], waiting=bool(self._book.lines)))
        for old in shutdowns(placement.unused, self._executors, self._book.alive, template.digest):
            logger.info("executor %s on agent %s is of an earlier time and idle: ending it", *astuple(old))
            self._calls.append(old)
            self.executor_ended(old.agent_id, old.executor_id)
        self._offers.clear()

    def _roll_out(self, now_s: float) -> None:
        steps = self.rollout.end_round(lambda agent_id: self._closed(agent_id, now_s), self._clock.monotonic_s(), now_s)
        changes = self._book.changes
        changes.estimators.update(steps.launched)
        changes.estimators_gone |= steps.gone
        self._calls.extend(steps.calls)

    def _hostname(self, agent_id: str) -> str:
        seen = self._seen_slack.get(agent_id)
        return seen.hostname if seen is not None else agent_id

    def _closed(self, agent_id: str, now_s: float) -> bool:
        """Whether nothing new goes to that agent, for an operator's sake."""
        return agent_id in self._holds or self._maintenance.closed(agent_id, now_s)

    def _launch(self, launch: AgentLaunch) -> None:
        tasks, offer, now_s = [], launch.offers[0], self._clock.now_s()
        for each in launch.placed:
            if each.executor.id not in self._executors[offer.agent_id]:
                self._executors[offer.agent_id][each.executor.id] = each.executor
                self._book.changes.executors_gone.discard((offer.agent_id, each.executor.id))
                self._book.changes.executors[offer.agent_id, each.executor.id] = each.executor
            pending = self._book.current(each.key)
            where = Place(offer.agent_id, offer.hostname, offer.agent_url, each.executor.id)
            attempt = self._step(pending, Launch(where))
            self._pursuit.launched(attempt.task_id, self._clock.monotonic_s())
            self._flapping.launched(attempt.job_id, now_s)
            job = self._job(attempt.job_id)
            tasks.append(task_info(job, attempt, offer.agent_id, each.resources, each.executor.info))
        self._calls.append(Accept(tuple(each.id for each in launch.offers), tuple(tasks), refusals.WAITING_S))

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
        ending = done.attempt.ending
        if attempt.alive and ending is not None:
            self._pursuit.ended(attempt.task_id)
            self.heard.ended(self._job(attempt.job_id), done.attempt, now_s)
            self._cool_down(attempt, ending.avoid_s if done.successor else 0.0, now_s)
            self._flapping.ended(
                attempt.job_id,
                well=ending.state is AttemptState.FINISHED,
                ran_s=now_s - (attempt.running_at or now_s),
                now_s=now_s,
            )
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
        """News of a task that is not, or no longer, ours to run: if it lives, it is killed."""
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


def same_job(known: api.Job, request: api.JobRequest, owner: str | None) -> api.Job:
    """The job that was submitted with that id before.  Raises IdTaken where its owner or its request is another."""
    if known.request != request or known.owner != owner:
        raise IdTaken(f"id {request.id!r} was given to job {known.id}, which is another one; choose another id")
    return known


def _name_of(command: Sequence[str]) -> str:
    """A job without a name is called after its program."""
    base = command[0].rsplit("/", 1)[-1]
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in base).lstrip("._-")
    return kept[:64] or "job"
