"""Master and agent in one process, each of which can end by itself, and the connection between them.  Runs on gevent.

One process and not two: the kill of an agent has the same effects here, and a second interpreter would
have to be started and watched every time.  The agent is an object with its port, streams and containers
(`agent.process.AgentProcess`).  When it is killed, the object is thrown away between two events: its connections
break, its containers' processes live on, and the next agent is built from the files of its work directory alone.

The two state machines are only ever called from greenlets of this process, and neither yields while it works:
no locks.  After every call all effects are carried out, messages between master and agent included.
"""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Callable, Collection

import gevent

from serenity.localmesos.agent.executor_launch import AgentSettings
from serenity.localmesos.agent.process import AgentProcess
from serenity.localmesos.agent.state import AgentState
from serenity.localmesos.cluster.options import ClusterError
from serenity.localmesos.containers import processes
from serenity.localmesos.containers.cgroups import Cgroups
from serenity.localmesos.containers.launcher import Launcher
from serenity.localmesos.endpoints import agent_routes, master_routes
from serenity.localmesos.master import agent_registry
from serenity.localmesos.master.process import MasterProcess
from serenity.localmesos.master.state import MasterSettings
from serenity.localmesos.messages import Effect, EndAgent, ForAgent, ToMaster
from serenity.localmesos.web.http import listen

_TICK_S = 0.05
_STOP_MARGIN_S = 1.0
_SUBSCRIBERS_OF_MASTER = ("scheduler",)
_SUBSCRIBERS_OF_AGENT = ("executor", "provider")
SUBSCRIBERS = (*_SUBSCRIBERS_OF_MASTER, *_SUBSCRIBERS_OF_AGENT)


class EmbeddedMesos:
    def __init__(
        self, agent: AgentSettings, master: MasterSettings, listeners: tuple[socket.socket, socket.socket]
    ) -> None:
        """`listeners`: the master's and the agent's.  Raises CgroupsError where cgroups cannot be used."""
        self._settings = agent
        self._clock = steady_clock()
        self._launcher = Launcher()
        self._cgroups: Cgroups | None = None
        if agent.isolation == "cgroups":
            self._cgroups = Cgroups(agent.cgroups_root, agent.revocable_cpu_low_priority)
        self._carrying_out = False
        self._agent_end: str | None = None  # Why the agent has ended by itself.
        self._master = MasterProcess(listeners[0], agent.ip, agent.hostname, master, self._clock, self.carry_out)
        self._agent: AgentProcess | None = self._new_agent(listeners[1])
        self._agent_port = self._agent.port.number

    def _new_agent(self, listener: socket.socket) -> AgentProcess:
        settings = dataclasses.replace(self._settings, agent_id=self._master.master.next_agent_id())
        return AgentProcess(listener, settings, self._launcher, self._cgroups, self._clock, self.carry_out)

    @property
    def master_address(self) -> str:
        return self._master.address

    @property
    def agent_address(self) -> str:
        return f"{self._settings.ip}:{self._agent_port}"

    # -- life --------------------------------------------------------------------------

    def start(self) -> None:
        """Both ports answer when this returns, and the agent is registered.  Raises ClusterError."""
        self._master.port.serve(master_routes(self._master))
        gevent.spawn(self._tick)
        self._register()

    def _register(self) -> None:
        assert self._agent is not None
        self._agent.port.serve(agent_routes(self._agent, self.master_address))
        self.carry_out()
        while self._agent is not None and self._agent.agent.state is not AgentState.RUNNING:
            gevent.sleep(_TICK_S)
        if self._agent is None:
            raise ClusterError(f"the agent has ended: {self._agent_end or 'it was killed'}")

    def stop(self) -> None:
        """Sends SHUTDOWN to every executor; when the longest grace period is over, all that is left is killed."""
        agent = self._agent
        if agent is not None:
            agent.agent.shut_down_all()
            self.carry_out()
            deadline_s = self._clock() + agent.longest_grace_s + _STOP_MARGIN_S
            while not agent.agent.empty and self._clock() < deadline_s:
                gevent.sleep(_TICK_S)
            agent.stop()
        self._master.port.stop()
        self._sweep()

    def _sweep(self) -> None:
        """Kills and removes what an agent that was killed has left."""
        processes.kill_all(self._left_over, self._thaw)
        if self._cgroups is not None:
            self._cgroups.remove_root()

    def _left_over(self) -> set[int]:
        mark = f"MESOS_SANDBOX={self._settings.work_dir}/".encode()
        found = processes.members(processes.snapshot(), None, mark)
        if self._cgroups is not None:
            found = found.union(*(self._cgroups.members(each) for each in self._cgroups.containers()))
        return found

    def _thaw(self) -> None:
        if self._cgroups is not None:
            for each in self._cgroups.containers():
                self._cgroups.thaw(each)

    def _tick(self) -> None:
        while True:
            gevent.sleep(_TICK_S)
            self._master.master.tick()
            if self._agent is not None:
                self._agent.agent.tick()
            self.carry_out()

    # -- effects -----------------------------------------------------------------------

    def carry_out(self) -> None:
        """Carries out the effects of master and agent, and the effects that follow from these."""
        if self._carrying_out:
            return  # Called by an effect: the loop below is still running.
        self._carrying_out = True
        try:
            while self._master.master.outbox or (self._agent is not None and self._agent.agent.outbox):
                for effect in _taken(self._master.master.outbox):
                    self._of_master(effect)
                agent = self._agent
                if agent is not None:
                    for effect in _taken(agent.agent.outbox):
                        self._of_agent(agent, effect)
        finally:
            self._carrying_out = False

    def _of_master(self, effect: Effect) -> None:
        if not isinstance(effect, ForAgent):
            self._master.perform(effect)
        elif self._agent is not None and self._agent.agent.settings.agent_id == effect.agent_id:
            self._agent.agent.receive(effect.message)

    def _of_agent(self, agent: AgentProcess, effect: Effect) -> None:
        if isinstance(effect, ToMaster):
            self._master.master.receive(agent.agent.settings.agent_id, effect)
        elif isinstance(effect, EndAgent):
            self._agent_end = effect.reason
            gevent.spawn(self.kill_agent)  # Not at once: effects are being carried out.
        else:
            agent.perform(effect)

    # -- faults ------------------------------------------------------------------------

    def kill_agent(self) -> None:
        """Ends the agent as SIGKILL would.  Nothing happens if none runs."""
        agent, self._agent = self._agent, None
        if agent is not None:
            agent.kill()
            self._master.master.agent_disconnected(agent.agent.settings.agent_id)
            self.carry_out()

    def start_agent(self) -> None:
        """After the agent was killed; returns when it is registered again.

        Raises:
            ClusterError: the agent runs, its port is taken, or it has ended again.
        """
        if self._agent is not None:
            raise ClusterError("the agent is running")
        try:
            listener = listen(self._settings.ip, self._agent_port)
        except OSError as error:
            raise ClusterError(str(error.strerror)) from error
        self._agent_end = None
        self._agent = self._new_agent(listener)
        self._register()

    def lose_agent(self) -> None:
        """Kills the agent; to the master it is unreachable at once, as when its ping timeouts are over."""
        lost = list(self._master.master.agents)
        self.kill_agent()
        for agent_id in lost:
            agent_registry.mark_unreachable(self._master.master, agent_id)
        self.carry_out()

    def drop_streams(self, kinds: Collection[str]) -> None:
        """Breaks the connections of subscribers; `kinds` are of `SUBSCRIBERS`."""
        self._master.port.cut_streams([each for each in kinds if each in _SUBSCRIBERS_OF_MASTER])
        if self._agent is not None:
            self._agent.port.cut_streams([each for each in kinds if each in _SUBSCRIBERS_OF_AGENT])

    def refuse(self, which: str, for_s: float) -> None:
        """Has ``master`` or ``agent`` answer every request with 503, for `for_s`."""
        if which == "master":
            self._master.port.refuse(for_s)
        elif self._agent is not None:
            self._agent.port.refuse(for_s)


def _taken(outbox: list[Effect]) -> list[Effect]:
    effects = outbox.copy()
    outbox.clear()
    return effects


def steady_clock() -> Callable[[], float]:
    """Unix time that never jumps: the wall clock at this call, carried on by the monotonic clock."""
    offset_s = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset_s
