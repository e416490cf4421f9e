"""Placement: which pending instances go onto which offers.  A pure function.

Best effort runs on revocable cpus only, and on revocable memory wherever the slack comes
from a resource provider.  Estimator modules inside an agent offer revocable cpus alone;
there, and only there, memory is taken from the regular offer.

**Who is next.**  The highest priority; among the users with it the one with the smallest dominant share
(of all slack, held and on offer, the larger of the user's shares of cpus and memory: Ghodsi et al.,
Dominant Resource Fairness, NSDI 2011); among that user's jobs the oldest.  An instance that fits
nowhere holds back no smaller one behind it.

**Where.**  Among the agents where the instance fits, which satisfy its constraints and do not cool
down for the job: those with the fewest instances of the job; among these, those where an executor
lives already; among these, the one with the least left over, so that the large holes stay whole.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from serenity.framework.jobs.job import Key
from serenity.framework.mesos.task_info import ExecutorTemplate
from serenity.framework.placement.agents import Agent, Executor, Offer, Placed
from serenity.framework.placement.lines import Ask, Line, Lines
from serenity.framework.placement.room import Choice, Room


@dataclass(frozen=True, slots=True)
class AgentLaunch:
    """All that is launched on one agent; consumes `offers` together."""

    offers: tuple[Offer, ...]
    placed: tuple[Placed, ...]


@dataclass(frozen=True, slots=True)
class Placement:
    launches: tuple[AgentLaunch, ...]
    unused: tuple[Offer, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """What somebody's tasks hold; thousandths, of a CPU and of a MiB."""

    cpus: int = 0
    mem: int = 0

    def __add__(self, ask: Ask | Held) -> Held:
        return Held(self.cpus + ask.cpus, self.mem + ask.mem)

    def __sub__(self, ask: Ask | Held) -> Held:
        return Held(self.cpus - ask.cpus, self.mem - ask.mem)

    def share(self, total: Held) -> float:
        """The dominant one, 0 to 1."""
        return max(self.cpus / max(1, total.cpus), self.mem / max(1, total.mem))


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is remembered of jobs, by job id; of users, by name."""

    avoid: Mapping[str, Collection[str]]  # Agents that are cooling down for the job.
    running: Mapping[str, Mapping[str, int]]  # How many of its instances are on which agent.
    most: Mapping[str, int]  # Of jobs that flap: how many instances may be launched now.
    held: Mapping[str, Held]  # By user.


NOTHING = Remembered({}, {}, {}, {})


def place(
    offers: Iterable[Offer],
    lines: Lines,
    *,
    executors: Mapping[str, Sequence[Executor]],
    template: ExecutorTemplate,
    remembered: Remembered = NOTHING,
) -> Placement:
    """Matches the instances that wait in `lines` with `offers`.

    Args:
        executors: what is known to have been launched, by agent id.
        template: what a new executor is made from.
    """
    by_agent: dict[str, list[Offer]] = defaultdict(list)
    for offer in offers:
        by_agent[offer.agent_id].append(offer)
    agents = [Agent(each, executors.get(agent_id, ()), template) for agent_id, each in by_agent.items()]
    if agents and lines:
        least = Ask(min(line.ask.cpus for line in lines), min(line.ask.mem for line in lines))
        room = Room(agents, least)
        total = sum((Held(agent.cpus, agent.mem) for agent in agents), sum(remembered.held.values(), Held()))
        by_priority: dict[int, list[Line]] = defaultdict(list)
        for line in lines:
            by_priority[line.priority].append(line)
        held = dict(remembered.held)
        for priority in sorted(by_priority, reverse=True):
            _place_fairly(by_priority[priority], lines, room, remembered, held, total)
    return Placement(
        launches=tuple(AgentLaunch(agent.offers, tuple(agent.placed)) for agent in agents if agent.placed),
        unused=tuple(offer for agent in agents if not agent.placed for offer in agent.offers),
    )


def _place_fairly(
    lines: Iterable[Line], who: Lines, room: Room, remembered: Remembered, held: dict[str, Held], total: Held
) -> None:
    """One instance after the other, always of the user with the smallest share."""
    of_user: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        of_user[line.user].append(line)
    turns = {user: _UsersTurns(each, who, room, remembered) for user, each in of_user.items()}
    users = [(held.get(user, Held()).share(total), user) for user in of_user]
    heapq.heapify(users)
    while users:
        _, user = users[0]
        ask = turns[user].place_one()
        if ask is None:
            heapq.heappop(users)
            continue
        held[user] = held.get(user, Held()) + ask
        heapq.heapreplace(users, (held[user].share(total), user))


class _UsersTurns:
    """One user's lines; the line with the oldest job goes next."""

    def __init__(self, lines: list[Line], who: Lines, room: Room, remembered: Remembered) -> None:
        self._who = who
        self._room = room
        self._remembered = remembered
        self._fresh = sorted(lines, key=lambda line: line.jobs[0], reverse=True)  # Lines not begun; the oldest last.
        self._begun: list[tuple[str, int, _LineTurns]] = []  # A heap, by the job whose turn it is.

    def place_one(self) -> Ask | None:
        """What was placed; None when nothing fits any more."""
        while (turns := self._oldest()) is not None:
            done = turns.place_one()
            if turns.job_id is None:
                heapq.heappop(self._begun)
            elif turns.job_id != self._begun[0][0]:
                heapq.heapreplace(self._begun, (turns.job_id, id(turns), turns))
            if done:
                return turns.ask
        return None

    def _oldest(self) -> _LineTurns | None:
        while self._fresh and (not self._begun or self._fresh[-1].jobs[0] < self._begun[0][0]):
            line = self._fresh.pop()
            if self._room.may_fit(line.ask):
                turns = _LineTurns(line, self._who, self._room, self._remembered)
                if turns.job_id is not None:
                    heapq.heappush(self._begun, (turns.job_id, id(turns), turns))
        return self._begun[0][2] if self._begun else None


class _LineTurns:
    """Goes along a line.  `job_id`: the job whose turn it is; None when no job behind is worth trying."""

    def __init__(self, line: Line, who: Lines, room: Room, remembered: Remembered) -> None:
        self.ask = line.ask
        self.job_id: str | None = None
        self._who = who
        self._room = room
        self._remembered = remembered
        self._jobs = iter(line.jobs)
        self._keys: Iterator[Key] = iter(())
        self._key: Key | None = None
        self._for_any = self._for_job = Choice(room, line.ask)
        if self._for_any.best() is not None:
            self._next_job()

    def place_one(self) -> bool:
        """The next instance of this turn's job; False when it fits nowhere, and the turn has passed on."""
        assert self._key is not None
        index = self._for_job.best()
        if index is None:
            # Where there is room to which this job may not go, another of the line may.
            if self._for_job is not self._for_any and self._for_any.best() is not None:
                self._next_job()
            else:
                self.job_id = None
            return False
        self._for_job.take(index, self._key)
        self._key = next(self._keys, None)
        if self._key is None:
            self._next_job()
        return True

    def _next_job(self) -> None:
        for job_id in self._jobs:
            most = self._remembered.most.get(job_id)
            instances = list(self._who.instances(job_id))[:most]
            if instances:
                self.job_id, self._keys = job_id, ((job_id, each) for each in instances)
                self._key = next(self._keys)
                avoid, running = self._remembered.avoid.get(job_id), self._remembered.running.get(job_id)
                alike = not avoid and not running and len(instances) == 1
                self._for_job = self._for_any if alike else Choice(self._room, self.ask, avoid or (), running or {})
                return
        self.job_id = None
