"""The agent with all its I/O: in Mesos a process of its own.  Runs on gevent.

It can be killed, as with SIGKILL: then nothing of it is left but the processes of containers and its checkpoint,
from which the next agent starts.
"""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Callable

from serenity.localmesos.agent import checkpoint
from serenity.localmesos.agent import view as agent_view
from serenity.localmesos.agent.agent import Agent
from serenity.localmesos.agent.executor_launch import AgentSettings
from serenity.localmesos.agent.meta_files import MetaFiles
from serenity.localmesos.containers.cgroups import Cgroups
from serenity.localmesos.containers.container import Containers
from serenity.localmesos.containers.launcher import Launcher
from serenity.localmesos.messages import (
    Checkpoint,
    Close,
    DestroyContainer,
    Effect,
    Forget,
    LaunchContainer,
    RecoverContainers,
    Send,
    UpdateContainer,
)
from serenity.localmesos.web.port import Port
from serenity.wire.mesos.resources import Json, Resources


class AgentProcess:
    def __init__(
        self,
        listener: socket.socket,
        settings: AgentSettings,
        launcher: Launcher,
        cgroups: Cgroups | None,
        clock: Callable[[], float],
        carry_out: Callable[[], None],
    ) -> None:
        """Recovers from the checkpoint in its work directory, if there is one.

        Args:
            settings: with the id for an agent that recovers from nothing.
            launcher: has the processes of containers, and lives on when this agent is killed.
            carry_out: called after every change, to carry out the effects in the outboxes.

        Raises:
            OSError, ValueError: the checkpoint cannot be read.
        """
        self.carry_out = carry_out
        self.port = Port(listener, self._stream_ended)
        self._clock = clock
        self._files = MetaFiles(settings.work_dir / "meta")
        files = self._files.read_all()
        known = checkpoint.agent_id(files, settings)
        if known is None:
            self._files.remove("")  # Left by an agent with another hostname or other resources, if by any.
            files = {}
        settings = dataclasses.replace(settings, agent_id=known or settings.agent_id, port=self.port.number)
        self.agent = Agent(settings, clock, checkpoint.recovered(files, settings))
        self._containers = Containers(self, launcher, cgroups, settings.work_dir)

    def perform(self, effect: Effect) -> None:
        """Performs an effect of the agent, other than messages to the master and the agent's own end."""
        if isinstance(effect, Send):
            self.port.send(effect.stream_id, effect.event)
        elif isinstance(effect, Close):
            self.port.end_stream(effect.stream_id)
        elif isinstance(effect, Checkpoint):
            self._files.write(effect.path, effect.content)
        elif isinstance(effect, Forget):
            self._files.remove(effect.path)
        elif isinstance(effect, LaunchContainer):
            self._containers.launch(effect)
        elif isinstance(effect, UpdateContainer):
            self._containers.update(effect.container_id, effect.allocated)
        elif isinstance(effect, DestroyContainer):
            self._containers.destroy(effect.container_id)
        elif isinstance(effect, RecoverContainers):
            self._containers.recover(effect.containers)

    def statistics(self) -> dict[str, Json]:
        """ResourceStatistics of every container, by its id."""
        return self._containers.statistics(self._allocated, self._clock())

    def _allocated(self, container_id: str) -> Resources:
        return agent_view.allocated(self.agent, container_id)

    # -- its end -----------------------------------------------------------------------

    def kill(self) -> None:
        self.port.break_off()
        self._containers.abandon()

    @property
    def longest_grace_s(self) -> float:
        """How long the executors that are being shut down may still take."""
        now_s = self._clock()
        executors = [each for framework in self.agent.frameworks.values() for each in framework.executors.values()]
        return max((each.destroy_at_s - now_s for each in executors if each.destroy_at_s is not None), default=0.0)

    def stop(self) -> None:
        """Kills what is left of the containers, then closes."""
        self._containers.destroy_all()
        self.port.stop()

    # -- news --------------------------------------------------------------------------

    def _stream_ended(self, stream_id: str) -> None:
        self.agent.stream_closed(stream_id)
        self.carry_out()

    def container_launched(self, container_id: str, pid: int) -> None:
        self.agent.container_launched(container_id, pid)
        self.carry_out()

    def container_failed(self, container_id: str, error: str) -> None:
        self.agent.container_failed(container_id, error)
        self.carry_out()

    def container_ended(self, container_id: str, wait_status: int | None) -> None:
        self.agent.container_ended(container_id, wait_status)
        self.carry_out()

    def container_update_failed(self, container_id: str, error: str) -> None:
        self.agent.container_update_failed(container_id, error)
        self.carry_out()
