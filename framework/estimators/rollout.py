"""The roll-out's decisions: offers, updates and looks at the cluster go in, launches and kills come out.

Pure, part of the core.  Each agent is one of:

* It has a task of ours.  Then nothing is launched there, whatever the task's state, until Mesos has
  said that it ended; so there are never two.  What was launched is in the store before the
  ACCEPT goes out, and a task that Mesos tells of and the store does not know is taken up by its id.
* It has slack, and no task of ours: somebody else's estimator reports it, and is left alone.
* Neither: one is launched, as soon as what is reserved for estimators is offered.

An upgrade ends one estimator, and the next only when its successor has run for a while and the
agent's slack is back.  Best-effort tasks there run on: slack that is withdrawn harms none.
"""

from __future__ import annotations

import enum
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from serenity.framework.estimators.agent import Agent, AgentSeen, Deployed, State
from serenity.framework.estimators.task import GRACE_S, EstimatorTemplate, TaskId
from serenity.framework.jobs.job import Ended, Ending, Seen
from serenity.framework.mesos.calls import Accept, Call, Decline, Kill
from serenity.framework.mesos.reminders import Reminders
from serenity.framework.mesos.updates import Update
from serenity.framework.mesos.whereabouts import Whereabouts, reconciles
from serenity.framework.placement.agents import Offer
from serenity.wire.mesos.resources import Resources
from serenity.wire.messages.api import AttemptState
from serenity.wire.messages.reasons import Reason

logger = logging.getLogger(__name__)

# Refusals hold for what was offered and less: for long where that is too little, else until it may be of use.
_TOO_LITTLE_S = 3600.0
_LATER_S = 30.0
_FOREIGN_S = 2.0
_SOON_S = 1.0
# Without news the agents are gone through no more often: there may be thousands, and rounds are many.
_LOOK_EVERY_S = 1.0
# An older look says nothing of now.
_LOOK_HOLDS_S = 90.0
# After a subscription we first wait for what Mesos tells by itself.
_LISTEN_FIRST_S = 1.0
# Nor is any upgraded before the missing ones had time to be launched: one may be in the middle of its upgrade.
_LAUNCH_FIRST_S = 30.0
_KILL_AGAIN_S = 10.0
# An estimator that is not back by then is said to be missed.
_PATIENCE_S = 300.0
# These ends are nobody's fault, and the next offer may do.
_BLAMELESS = {Reason.LAUNCH_REFUSED, Reason.AGENT_LOST, Reason.AGENT_DRAINING, Reason.LOST, Reason.PREEMPTED_BY_MESOS}
_STATES = {
    AttemptState.RUNNING: State.RUNNING,
    AttemptState.KILLING: State.KILLING,
    AttemptState.UNREACHABLE: State.AWAY,
}


class Aim(enum.Enum):
    LEAVE = "leave"  # Estimators that run stay as they are.
    ROLL_OUT = "roll out"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Plan:
    aim: Aim = Aim.LEAVE
    template: EstimatorTemplate = field(default_factory=lambda: EstimatorTemplate(""))
    settle_s: float = 60.0  # An upgraded one must do well for so long before the next one's turn.


@dataclass(frozen=True, slots=True)
class Steps:
    """What a round leads to: first to be stored (by agent id), then to be called."""

    launched: dict[str, Deployed]
    gone: set[str]
    calls: tuple[Call, ...]


class Rollout:
    """All times are monotonic seconds, but for the one that new tasks are named after."""

    def __init__(self, plan: Plan, deployed: Iterable[Deployed], monotonic_s: float) -> None:
        self.plan = plan
        self.agents: dict[str, Agent] = {}
        self.halted: str | None = None  # Why no other agent's turn comes.
        self._waited_for: str | None = None  # The id of the agent that the others wait for.
        self._offers: dict[str, Offer] = {}
        self._calls: list[Call] = []
        self._launched: dict[str, Deployed] = {}
        self._gone: set[str] = set()
        self._subscribed_s: float | None = None
        self._first_look_s: float | None = None  # The first since the subscription.
        self._look_wanted = False
        self._news = True
        self._acted_s = 0.0
        self._where = Whereabouts()
        self._kill = Reminders()  # By task id.
        for each in deployed:
            task = TaskId.parse(each.task_id)
            if task is not None:
                self._agent(each.agent_id, each.hostname).launched(task, monotonic_s)

    @property
    def on(self) -> bool:
        return self.plan.aim is Aim.ROLL_OUT

    @property
    def busy(self) -> bool:
        """Whether it waits for what the next look at the cluster will say."""
        return self.on and (self._look_wanted or any(map(self._in_doubt, self.agents.values())))

    @staticmethod
    def _in_doubt(agent: Agent) -> bool:
        unsettled = agent.task is not None and agent.state is not State.AWAY and not agent.settled
        return unsettled or agent.upgrading or agent.unexplained

    @property
    def unexplained(self) -> tuple[Agent, ...]:
        """Those whose last task's words are wanted."""
        return tuple(each for each in self.agents.values() if each.unexplained)

    # -- what comes in ---------------------------------------------------------------------------

    def subscribed(self, monotonic_s: float) -> None:
        self._offers.clear()
        self._subscribed_s, self._first_look_s = monotonic_s, None
        self._where.subscribed()
        for each in self.agents.values():
            if each.task is not None:
                if not each.heard:
                    each.since_s = monotonic_s  # Until now nobody listened.
                self._where.ask(str(each.task), monotonic_s)

    def unsubscribed(self) -> None:
        """Offers die with the subscription."""
        self._offers.clear()
        self._subscribed_s = None

    def framework_removed(self, monotonic_s: float, lingers_s: float) -> None:
        """Its tasks are ended by their agents, which take `lingers_s` for it and will not say when they have."""
        for each in self.agents.values():
            if each.task is not None:
                self._ended(each, "Mesos removed the framework", monotonic_s, badly=False, pause_s=lingers_s)

    def offered(self, offer: Offer) -> None:
        """An offer of the estimators' role."""
        self._offers[offer.id] = offer
        agent = self._agent(offer.agent_id, offer.hostname)
        agent.url = offer.agent_url

    def rescinded(self, offer_id: str) -> None:
        self._offers.pop(offer_id, None)

    def looked(self, agents: Sequence[AgentSeen], asked_at_s: float) -> None:
        """All agents that the master knew when it was asked, at that time."""
        self._look_wanted, self._news = False, True
        if self._first_look_s is None:
            self._first_look_s = asked_at_s
        known = {each.agent_id for each in agents}
        for seen in agents:
            agent = self._agent(seen.agent_id, seen.hostname)
            agent.seen, agent.seen_at_s = seen, asked_at_s
        for agent_id, agent in list(self.agents.items()):
            if agent_id not in known:
                agent.seen = None
                if agent.task is None and not agent.upgrading and not agent.failures:
                    del self.agents[agent_id]

    def explained(self, agent_id: str, task: TaskId, words: str) -> None:
        """The last line that a failed estimator has written; empty where there is none."""
        agent = self.agents.get(agent_id)
        if agent is not None and agent.failed_task == task:
            agent.words = words
            if words:
                logger.warning("the estimator on %s said: %s", agent.hostname, words)

    def updated(self, update: Update, task: TaskId, monotonic_s: float) -> None:
        """A status update of an estimator, or an answer to a reconciliation."""
        agent = self._agent(task.agent_id)
        if agent.task != task and not self._taken_up(agent, task, update, monotonic_s):
            return
        if update.doubtful and not self._where.believed(update.task_id, monotonic_s):
            return
        if update.event != Seen(AttemptState.UNREACHABLE):
            self._where.drop(update.task_id)
        agent.heard = self._news = True
        if isinstance(update.event, Ended):
            self._end(agent, update.event.ending, monotonic_s)
        elif update.event is not None:
            state = _STATES[update.event.state]
            late = state is State.RUNNING and agent.killed == task
            agent.enter(State.KILLING if late else state, monotonic_s)

    def _taken_up(self, agent: Agent, task: TaskId, update: Update, monotonic_s: float) -> bool:
        """Takes up a task that is not in the book, unless another one is known to run there; whether it did."""
        alive = isinstance(update.event, Seen) or update.event is None
        if not alive:
            return False
        if agent.task is not None and agent.heard:
            logger.warning("%s runs beside %s: killing it", task, agent.task)
            self._calls.append(Kill(str(task), task.agent_id, GRACE_S))
            return False
        logger.info("taking up %s, which runs and was not known", task)
        agent.launched(task, monotonic_s)
        self._store(agent, task)
        return True

    def _end(self, agent: Agent, ending: Ending, monotonic_s: float) -> None:
        asked_for = agent.state is State.KILLING or agent.killed == agent.task
        blameless = ending.reason in _BLAMELESS
        message = ending.message or f"ended as {ending.state}"
        self._ended(
            agent, message, monotonic_s, badly=not asked_for and not blameless, pause_s=_SOON_S if blameless else 0.0
        )
        if agent.why:
            logger.warning("the estimator on %s has ended: %s", agent.hostname, message)

    def _ended(self, agent: Agent, message: str, monotonic_s: float, *, badly: bool, pause_s: float) -> None:
        for reminders in (self._where, self._kill):
            reminders.drop(str(agent.task))
        agent.ended(message, monotonic_s, badly=badly, pause_s=pause_s)
        self._launched.pop(agent.id, None)
        self._gone.add(agent.id)

    # -- the round -------------------------------------------------------------------------------

    def end_round(self, closed: Callable[[str], bool], monotonic_s: float, now_s: float) -> Steps:
        """`closed`: whether nothing new is to go to that agent.  `now_s`: since the epoch."""
        if self._subscribed_s is not None:
            self._ask_again(monotonic_s)
            if monotonic_s - self._subscribed_s >= _LISTEN_FIRST_S:
                self._act(closed, monotonic_s, now_s)
        steps = Steps(self._launched, self._gone, tuple(self._calls))
        self._launched, self._gone, self._calls = {}, set(), []
        return steps

    def _act(self, closed: Callable[[str], bool], monotonic_s: float, now_s: float) -> None:
        self._use_offers(closed, monotonic_s, now_s)
        if not self._news and monotonic_s - self._acted_s < _LOOK_EVERY_S:
            return
        self._news, self._acted_s = False, monotonic_s
        if self.plan.aim is Aim.REMOVE:
            for agent in self.agents.values():
                if agent.task is not None and agent.heard and agent.state in (State.LAUNCHING, State.RUNNING):
                    self._kill_task(agent, monotonic_s)
        if self.on:
            version = self.plan.template.version
            for agent in self.agents.values():
                agent.judge(version, self.plan.settle_s)
            self._upgrade(version, closed, monotonic_s)

    def _use_offers(self, closed: Callable[[str], bool], monotonic_s: float, now_s: float) -> None:
        by_agent: dict[str, list[Offer]] = defaultdict(list)
        for offer in self._offers.values():
            by_agent[offer.agent_id].append(offer)
        self._offers.clear()
        for agent_id, offers in by_agent.items():
            agent, ids = self._agent(agent_id), tuple(each.id for each in offers)
            resources = self.plan.template.part_of(Resources.total(each.resources for each in offers))
            wait_s = self.waits_s(agent, monotonic_s) if not closed(agent_id) else _LATER_S
            if resources is None:
                self._calls.append(Decline(ids, _TOO_LITTLE_S))
            elif wait_s > 0:
                self._look_wanted |= agent.task is None and not self._was_seen(agent, monotonic_s)
                self._calls.append(Decline(ids, wait_s))
            else:
                self._launch(agent, offers[0], ids, resources, monotonic_s, now_s)

    def waits_s(self, agent: Agent, monotonic_s: float) -> float:
        """How long, at least, nothing is to be launched there; 0: now."""
        if agent.task is not None:
            return _LATER_S
        if agent.reported_by_others:
            return _FOREIGN_S
        if agent.not_before_s > monotonic_s:
            return max(_SOON_S, agent.not_before_s - monotonic_s)
        if agent.upgrading or self._was_seen(agent, monotonic_s):
            return 0.0
        return _SOON_S

    @staticmethod
    def _was_seen(agent: Agent, monotonic_s: float) -> bool:
        return agent.seen is not None and monotonic_s - agent.seen_at_s < _LOOK_HOLDS_S

    def _launch(
        self,
        agent: Agent,
        offer: Offer,
        offer_ids: tuple[str, ...],
        resources: Resources,
        monotonic_s: float,
        now_s: float,
    ) -> None:
        template = self.plan.template
        task = TaskId(template.version, round(now_s * 1000), agent.id)
        agent.launched(task, monotonic_s)
        self._store(agent, task)
        self._where.launched(str(task), monotonic_s)
        logger.info("launching an estimator on %s, version %s", agent.hostname, task.version)
        info = template.task_info(str(task), agent.id, offer.agent_url, resources)
        self._calls.append(Accept(offer_ids, (info,), _LATER_S))

    # -- upgrades --------------------------------------------------------------------------------

    def _upgrade(self, version: str, closed: Callable[[str], bool], monotonic_s: float) -> None:
        """Ends one estimator of another version, unless another agent's is still to come back."""
        outdated = [
            each
            for each in self.agents.values()
            if each.task is not None
            and each.heard
            and each.state is State.RUNNING
            and each.version != version
            and not each.lacks_room(self.plan.template.cpus, self.plan.template.mem_mb)
            and not closed(each.id)
        ]
        missed = [each for each in self.agents.values() if self._to_come(each, version)]
        self._say_halted(missed if outdated else [], monotonic_s)
        if outdated and not missed and not self._may_launch_first(monotonic_s):
            agent = min(outdated, key=lambda each: (each.hostname, each.id))
            logger.info("upgrading the estimator on %s from version %s to %s", agent.hostname, agent.version, version)
            agent.upgrading, agent.slack_expected = True, agent.seen is not None and agent.seen.has_slack
            self._kill_task(agent, monotonic_s)

    def _may_launch_first(self, monotonic_s: float) -> bool:
        """An upgrade that was under way before a restart is not stored; without a look nothing is launched."""
        wait_s = min(_LAUNCH_FIRST_S, self.plan.settle_s)
        return self._first_look_s is None or monotonic_s - self._first_look_s < wait_s

    def _to_come(self, agent: Agent, version: str) -> bool:
        if agent.foreign:
            return False
        if agent.upgrading or (agent.task is not None and agent.state in (State.LAUNCHING, State.KILLING)):
            return True
        unsettled = agent.version == version and not agent.settled and agent.state is not State.AWAY
        return unsettled and (agent.task is not None or agent.failures > 0)

    def _say_halted(self, missed: Sequence[Agent], monotonic_s: float) -> None:
        late = [each for each in missed if each.failures or monotonic_s - (each.ended_s or each.since_s) > _PATIENCE_S]
        self.halted, before = None, self._waited_for
        agent = min(late, key=lambda each: (each.hostname, each.id)) if late else None
        self._waited_for = agent.id if agent is not None else None
        if agent is not None:
            self.halted = f"no other estimator is upgraded before {agent.hostname}'s does well: {_why_missed(agent)}"
            if agent.id != before:
                logger.warning("%s", self.halted)

    # -- tasks -----------------------------------------------------------------------------------

    def _kill_task(self, agent: Agent, monotonic_s: float) -> None:
        agent.enter(State.KILLING, monotonic_s)
        agent.killed = agent.task
        self._kill.set(str(agent.task), monotonic_s + _KILL_AGAIN_S, pause_s=_KILL_AGAIN_S)
        self._calls.append(Kill(str(agent.task), agent.id, GRACE_S))

    def _ask_again(self, monotonic_s: float) -> None:
        asked = [(str(each), each.agent_id) for each in self._alive(self._where, monotonic_s)]
        self._calls.extend(reconciles(asked))
        self._calls.extend(Kill(str(each), each.agent_id, GRACE_S) for each in self._alive(self._kill, monotonic_s))

    def _alive(self, reminders: Reminders, monotonic_s: float) -> Iterator[TaskId]:
        for task_id in reminders.due(monotonic_s):
            task = TaskId.parse(task_id)
            agent = self.agents.get(task.agent_id) if task is not None else None
            if task is not None and agent is not None and agent.task == task:
                yield task
            else:
                reminders.drop(task_id)

    def _store(self, agent: Agent, task: TaskId) -> None:
        self._gone.discard(agent.id)
        self._launched[agent.id] = Deployed(agent.id, agent.hostname, str(task))

    def _agent(self, agent_id: str, hostname: str | None = None) -> Agent:
        agent = self.agents.get(agent_id)
        if agent is None:
            agent = self.agents[agent_id] = Agent(agent_id, hostname or agent_id)
        if hostname is not None:
            agent.hostname = hostname
        return agent


def _why_missed(agent: Agent) -> str:
    if agent.seen is None:
        return "the master knows the agent no longer; to go on without it, start the framework again"
    if agent.task is None or agent.failures:
        return agent.words or agent.why or "it was not started yet"
    return "its agent is away" if agent.state is State.AWAY else "its slack is not back"
