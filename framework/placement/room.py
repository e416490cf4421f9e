"""What is left on each agent while placement goes on, and where a task fits best.

All agents at once, in arrays: there may be ten thousand of each, and a task for every one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from serenity.framework.jobs.job import Key
from serenity.framework.placement.agents import Agent
from serenity.framework.placement.lines import Ask
from serenity.wire.messages.constraints import Constraint

# What outweighs what: one more instance of the job on an agent, an executor to be started there, what is left over.
_ONE_MORE = 1e6
_NEW_EXECUTOR = 1e3
# More changes than this are not followed one by one.
_MOST_FOLLOWED = 50


class Room:
    """`least`: with less than that left of either, an agent is of no use to any task."""

    def __init__(self, agents: Sequence[Agent], least: Ask) -> None:
        self.agents = agents
        self.index = {agent.id: index for index, agent in enumerate(agents)}
        self.changed: list[int] = []  # Which agent, for each task that was placed.
        self._least_cpus, self._least_mem = least.cpus, least.mem
        useful = [agent.cpus >= least.cpus and agent.mem >= least.mem for agent in agents]
        self.cpus = np.array([agent.cpus if each else -1 for agent, each in zip(agents, useful, strict=True)])
        self.mem = np.array([agent.mem if each else -1 for agent, each in zip(agents, useful, strict=True)])
        self._cpus_weight, self._mem_weight = 1.0 / max(1, int(self.cpus.max())), 1.0 / max(1, int(self.mem.max()))
        self.costs = self.cpus * self._cpus_weight + self.mem * self._mem_weight
        self.costs += np.array([not agent.has_executor for agent in agents]) * _NEW_EXECUTOR
        self._suitable: dict[tuple[Constraint, ...], NDArray[np.bool_]] = {}
        self._most: tuple[int, int, int] = (-1, 0, 0)  # After how many changes; then cpus, and memory.

    def may_fit(self, ask: Ask) -> bool:
        """False where the task certainly fits nowhere: quicker than a look at every agent."""
        changes, cpus, mem = self._most
        if changes != len(self.changed):
            cpus, mem = int(self.cpus.max()), int(self.mem.max())
            self._most = len(self.changed), cpus, mem
        return ask.cpus <= cpus and ask.mem <= mem

    def suitable(self, constraints: tuple[Constraint, ...]) -> NDArray[np.bool_]:
        found = self._suitable.get(constraints)
        if found is None:
            found = np.array([agent.satisfies(constraints) for agent in self.agents], dtype=np.bool_)
            self._suitable[constraints] = found
        return found

    def take(self, index: int, key: Key, ask: Ask) -> None:
        agent = self.agents[index]
        agent.take(key, ask.cpus, ask.mem)
        useful = agent.cpus >= self._least_cpus and agent.mem >= self._least_mem
        self.cpus[index], self.mem[index] = (agent.cpus, agent.mem) if useful else (-1, -1)
        self.costs[index] = agent.cpus * self._cpus_weight + agent.mem * self._mem_weight
        self.changed.append(index)


class Choice:
    """What each agent costs one job, or all of a line to which the same agents are open; follows `Room.changed`."""

    def __init__(
        self, room: Room, ask: Ask, avoid: Collection[str] = (), running: Mapping[str, int] | None = None
    ) -> None:
        """`avoid`: ids of agents; `running`: how many instances of the job are where, None: that does not matter."""
        self._room = room
        self._ask = ask
        self._open = room.suitable(ask.constraints)
        if any(each in room.index for each in avoid):
            self._open = self._open.copy()
            self._open[[room.index[each] for each in avoid if each in room.index]] = False
        self._crowd: NDArray[np.float64] | None = None
        if running is not None:
            self._crowd = np.zeros(len(room.agents))
            for agent_id, count in running.items():
                if agent_id in room.index:
                    self._crowd[room.index[agent_id]] = count * _ONE_MORE
        self._seen = 0  # So many of the room's changes were followed.
        self._costs = self._look()

    def best(self) -> int | None:
        """Index of the agent; None when it fits nowhere."""
        changed = self._room.changed
        if len(changed) - self._seen > _MOST_FOLLOWED:
            self._costs = self._look()
        elif self._seen < len(changed):
            for index in changed[self._seen :]:
                self._costs[index] = self._cost(index)
            self._seen = len(changed)
        index = int(self._costs.argmin())
        return index if self._costs[index] < np.inf else None

    def take(self, index: int, key: Key) -> None:
        if self._crowd is not None:
            self._crowd[index] += _ONE_MORE
        self._room.take(index, key, self._ask)

    def _look(self) -> NDArray[np.float64]:
        room, ask = self._room, self._ask
        fits = (room.cpus >= ask.cpus) & (room.mem >= ask.mem) & self._open
        costs = room.costs if self._crowd is None else room.costs + self._crowd
        self._seen = len(room.changed)
        return np.where(fits, costs, np.inf)

    def _cost(self, index: int) -> float:
        room = self._room
        if room.cpus[index] < self._ask.cpus or room.mem[index] < self._ask.mem or not self._open[index]:
            return float(np.inf)
        crowd = 0.0 if self._crowd is None else self._crowd[index]
        return float(room.costs[index] + crowd)
