"""The Mesos of a simulation: master and agents of `localmesos`, joined by channels and reached by the network."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Protocol

from serenity.localmesos.master.master import HEARTBEAT_S, Master
from serenity.localmesos.master.state import MasterSettings
from serenity.localmesos.messages import (
    Close,
    Effect,
    ForAgent,
    LaunchContainer,
    Send,
    ToMaster,
    UpdateStatus,
)
from tests.fuzz.agents import SimAgent
from tests.fuzz.network import Json, Network
from tests.fuzz.port import Port
from tests.fuzz.story import Story
from tests.fuzz.streams import SimStream

MASTER = "10.0.0.1:5050"
AGENTS = 2


class Containers(Protocol):
    """Who starts and ends the executors that agents ask for; tells `SimAgent.container_ended`."""

    def launch(self, agent: SimAgent, container: LaunchContainer, pid: int) -> None: ...
    def destroy(self, container_id: str) -> None: ...
    def recover(self, agent: SimAgent, container_ids: set[str]) -> None:
        """Of what this agent has started, these are still its own, and any other is to end."""


class Witness(Protocol):
    def called(self, call: Json) -> None:
        """A scheduler's call has arrived; it is carried out next, or refused."""

    def reported(self, status: Json) -> None:
        """An agent has an update for the framework."""

    def framework_removed(self) -> None: ...


class Cluster:
    def __init__(
        self, network: Network, now_s: Callable[[], float], containers: Containers, witness: Witness, story: Story
    ) -> None:
        self.network = network
        self.now_s = now_s
        self.containers = containers
        self.witness = witness
        self.story = story
        self.streams: dict[str, SimStream] = {}
        self.pids = itertools.count(100)
        self._masters = itertools.count(1)
        self._beat_s = 0.0
        self.master = self._new_master()
        self.agents = [SimAgent(self, number, self.master.next_agent_id()) for number in range(AGENTS)]

    def start(self) -> None:
        for agent in self.agents:
            agent.start()

    # -- what may happen -------------------------------------------------------------------

    def tick(self) -> None:
        """Time has passed."""
        if self.now_s() - self._beat_s >= HEARTBEAT_S:
            self._beat_s = self.now_s()
            for framework in self.master.frameworks.values():
                if framework.stream_id in self.streams:
                    self.streams[framework.stream_id].send({"type": "HEARTBEAT"})
        self.master.tick()
        self.carry_out()
        for agent in self.agents:
            agent.tick()

    def remove_framework(self) -> None:
        """By an operator."""
        for framework in list(self.master.frameworks.values()):
            self.story.note("master", f"removes framework {framework.framework_id}")
            self.master.remove(framework)
        self.witness.framework_removed()
        self.carry_out()
        for agent in self.agents:
            agent.to_agent.deliver_all()

    def restart_all(self) -> None:
        """Master and agents, as after a power cut; the master has no registry, and knows nobody."""
        self.story.note("master", "is another one")
        for agent in self.agents:
            agent.die()
        self.network.server_died(MASTER)
        self.master = self._new_master()
        self.start()

    def heal(self) -> None:
        for agent in self.agents:
            agent.heal()

    # -- the master's process --------------------------------------------------------------

    def _new_master(self) -> Master:
        master_id = f"M{next(self._masters)}"
        info: Json = {"id": master_id, "ip": 0, "port": 5050, "hostname": "m", "pid": "master@m", "capabilities": []}
        master = Master({**info, "address": {"ip": "m"}}, self.now_s, MasterSettings(allocation_interval_s=1.0))
        self.network.hosts[MASTER] = Port("master", self.streams, self._call, self._closed, self.story)
        return master

    def _call(self, call: Json, stream_id: str | None) -> None:
        if call["type"] == "SUBSCRIBE":
            assert stream_id is not None
            self.master.subscribe(stream_id, call)
        else:
            self.witness.called(call)
            self.master.call(stream_id, call)
        self.carry_out()

    def _closed(self, stream_id: str) -> None:
        self.master.stream_closed(stream_id)
        self.carry_out()

    def carry_out(self) -> None:
        effects = self.master.outbox.copy()
        self.master.outbox.clear()
        for effect in effects:
            if not isinstance(effect, ForAgent):
                self.perform(effect)
            for agent in self.agents:
                if isinstance(effect, ForAgent) and effect.agent_id == agent.id:
                    agent.send(effect.message)

    # -- for the agents --------------------------------------------------------------------

    def perform(self, effect: Effect) -> None:
        """What both of them may want: events on streams, and the ends of streams."""
        if isinstance(effect, Send | Close) and effect.stream_id in self.streams:
            stream = self.streams[effect.stream_id]
            if isinstance(effect, Send):
                self.story.note(f"to {stream.client}", effect.event)
                stream.send(effect.event)
            else:
                stream.end()

    def receive(self, agent_id: str, message: ToMaster) -> None:
        if isinstance(message, UpdateStatus):
            self.witness.reported(message.status)
        self.master.receive(agent_id, message)
        self.carry_out()

    def disconnected(self, agent_id: str) -> None:
        self.master.agent_disconnected(agent_id)
        self.carry_out()
