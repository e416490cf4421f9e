"""Master and agent in one process: their effects carried out, their streams, containers and clock.  Runs on gevent.

The two state machines are only ever called from here and from `endpoints`, and neither yields
while it works: no locks.  After every call its effects are carried out to the last, messages
between master and agent included.
"""

from __future__ import annotations

import logging
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gevent
from gevent import pywsgi

import serenity
from serenity.localmesos import agent_view, master_view
from serenity.localmesos.agent import Agent
from serenity.localmesos.container import Containers
from serenity.localmesos.endpoints import agent_application, master_application
from serenity.localmesos.executor_launch import AgentSettings, mesos_duration
from serenity.localmesos.http import serve
from serenity.localmesos.master import Master
from serenity.localmesos.messages import Close, DestroyContainer, Effect, LaunchContainer, Send, ToMaster
from serenity.localmesos.resource_flag import parse_resources
from serenity.localmesos.streams import EventStream
from serenity.localmesos.view import MESOS_VERSION
from serenity.wire.resources import Json

logger = logging.getLogger(__name__)

_TICK_S = 0.05
_STOP_MARGIN_S = 1.0
_MASTER_CAPABILITIES = ("AGENT_UPDATE", "AGENT_DRAINING", "QUOTA_V2")


@dataclass(frozen=True, slots=True)
class Options:
    """What localmesos is started with."""

    work_dir: Path
    resources: str  # As mesos-agent's --resources.
    ip: str = "127.0.0.1"
    hostname: str | None = None  # Default: the address.
    allocation_interval_s: float = 1.0
    executor_registration_timeout_s: float = 60.0
    executor_shutdown_grace_period_s: float = 5.0


class EmbeddedMesos:
    def __init__(self, options: Options, master_listener: socket.socket, agent_listener: socket.socket) -> None:
        """Raises ResourceError for resources that make no sense."""
        self._listeners = (master_listener, agent_listener)
        self.master_address = f"{options.ip}:{master_listener.getsockname()[1]}"
        self.agent_address = f"{options.ip}:{agent_listener.getsockname()[1]}"
        clock = steady_clock()
        master_id = str(uuid.uuid4())
        hostname = options.hostname or options.ip
        info = _master_info(master_id, options.ip, hostname, master_listener.getsockname()[1])
        self.master = Master(info, clock, options.allocation_interval_s)
        settings = AgentSettings(
            agent_id=f"{master_id}-S0",
            hostname=hostname,
            ip=options.ip,
            port=agent_listener.getsockname()[1],
            work_dir=options.work_dir,
            resources=parse_resources(options.resources),
            import_path=str(Path(serenity.__file__).resolve().parent.parent),
            executor_registration_timeout_s=options.executor_registration_timeout_s,
            executor_shutdown_grace_period_s=options.executor_shutdown_grace_period_s,
        )
        self.agent = Agent(settings, clock)
        self.master_flags = master_view.flags(self.master, mesos_duration(options.allocation_interval_s))
        self.agent_flags = agent_view.flags(self.agent, self.master_address, options.resources)
        self._clock = clock
        self._containers = Containers(self)
        self._streams: dict[str, EventStream] = {}
        self._servers: list[pywsgi.WSGIServer] = []
        self._carrying_out = False

    # -- life --------------------------------------------------------------------------

    def start(self) -> None:
        """Both ports answer when this returns, and the agent is registered."""
        self.carry_out()
        applications = (master_application(self), agent_application(self))
        self._servers = [serve(*each) for each in zip(self._listeners, applications, strict=True)]
        gevent.spawn(self._tick)

    def stop(self) -> None:
        """SHUTDOWN to every executor; when the longest grace period is over all is killed."""
        self.agent.shut_down_all()
        self.carry_out()
        deadline_s = self._clock() + self._longest_grace_s() + _STOP_MARGIN_S
        while not self.agent.empty and self._clock() < deadline_s:
            gevent.sleep(_TICK_S)
        self._containers.destroy_all()
        for stream in list(self._streams.values()):
            stream.end()
        for server in self._servers:
            server.stop(timeout=_STOP_MARGIN_S)

    def _longest_grace_s(self) -> float:
        now_s = self._clock()
        ends = [
            executor.destroy_at_s - now_s
            for framework in self.agent.frameworks.values()
            for executor in framework.executors.values()
            if executor.destroy_at_s is not None
        ]
        return max(ends, default=0.0)

    def _tick(self) -> None:
        while True:
            gevent.sleep(_TICK_S)
            self.master.tick()
            self.agent.tick()
            self.carry_out()

    # -- effects -----------------------------------------------------------------------

    def carry_out(self) -> None:
        """Carries out whatever master and agent want done, and what that makes them want."""
        if self._carrying_out:
            return  # Called by an effect: the loop below is not done yet.
        self._carrying_out = True
        try:
            while self.master.outbox or self.agent.outbox:
                for outbox in (self.master.outbox, self.agent.outbox):
                    effects = outbox.copy()
                    outbox.clear()
                    for effect in effects:
                        self._carry_out(effect)
        finally:
            self._carrying_out = False

    def _carry_out(self, effect: Effect) -> None:
        if isinstance(effect, Send):
            if effect.stream_id in self._streams:
                self._streams[effect.stream_id].send(effect.event)
        elif isinstance(effect, Close):
            if effect.stream_id in self._streams:
                self._streams[effect.stream_id].end()
        elif isinstance(effect, LaunchContainer):
            self._containers.launch(effect)
        elif isinstance(effect, DestroyContainer):
            self._containers.destroy(effect.container_id)
        elif isinstance(effect, ToMaster):
            self.master.receive(effect)
        else:
            self.agent.receive(effect)

    # -- streams -----------------------------------------------------------------------

    def open_stream(self, stream_id: str, heartbeat_s: float | None) -> EventStream:
        stream = self._streams[stream_id] = EventStream(stream_id, heartbeat_s, self._stream_ended)
        return stream

    def _stream_ended(self, stream_id: str) -> None:
        self._streams.pop(stream_id, None)
        self.master.stream_closed(stream_id)
        self.agent.stream_closed(stream_id)
        self.carry_out()

    # -- news of containers ------------------------------------------------------------

    def container_launched(self, container_id: str, pid: int) -> None:
        self.agent.container_launched(container_id, pid)
        self.carry_out()

    def container_failed(self, container_id: str, error: str) -> None:
        self.agent.container_failed(container_id, error)
        self.carry_out()

    def container_ended(self, container_id: str, wait_status: int) -> None:
        self.agent.container_ended(container_id, wait_status)
        self.carry_out()

    def statistics(self) -> dict[str, Json]:
        """ResourceStatistics of every container, by its id."""
        return self._containers.statistics(
            lambda container_id: agent_view.allocated(self.agent, container_id), self._clock()
        )


def steady_clock() -> Callable[[], float]:
    """Unix time that never jumps: the wall clock of now, carried on by the monotonic one."""
    offset_s = time.time() - time.monotonic()
    return lambda: time.monotonic() + offset_s


def _master_info(master_id: str, ip: str, hostname: str, port: int) -> Json:
    return {
        "id": master_id,
        "ip": int.from_bytes(socket.inet_aton(ip), "little"),  # As Mesos has it, in network order.
        "port": port,
        "pid": f"master@{ip}:{port}",
        "hostname": hostname,
        "version": MESOS_VERSION,
        "address": {"hostname": hostname, "ip": ip, "port": port},
        "capabilities": [{"type": each} for each in _MASTER_CAPABILITIES],
    }
