"""One agent of a simulation: its process, which may die and recover, its disk, and the estimator beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serenity.localmesos.agent import checkpoint
from serenity.localmesos.agent.agent import Agent
from serenity.localmesos.agent.executor_launch import AgentSettings
from serenity.localmesos.messages import (
    CallRefused,
    Checkpoint,
    DestroyContainer,
    Effect,
    Forget,
    LaunchContainer,
    RecoverContainers,
    RegisterAgent,
    ReregisterAgent,
    Send,
    ToAgent,
    ToMaster,
)
from serenity.localmesos.resource_flag import parse_resources
from serenity.wire.mesos.provider import slack
from tests.fuzz.network import Json
from tests.fuzz.port import Port

if TYPE_CHECKING:
    from tests.fuzz.mesos import Cluster

SLACK_CPUS = 3.0
ROLE = "be"


def address_of(number: int) -> str:
    return f"10.0.1.{number}:5051"


class SimAgent:
    def __init__(self, cluster: Cluster, number: int, agent_id: str) -> None:
        self.id = agent_id
        self.address = address_of(number)
        self.machine: Agent | None = None  # None: its process is not there.
        self.to_agent, self._to_master = cluster.network.channel(), cluster.network.channel()
        self.estimator = Estimator(self, cluster)
        self._name = f"agent {number}"
        self._cluster = cluster
        self._files: dict[str, Json] = {}
        self._life = 0
        self._linked_life = 0  # To which the master has a connection.
        self._settings = AgentSettings(
            agent_id=agent_id,
            hostname=f"h{number}",
            ip=f"10.0.1.{number}",
            port=5051,
            work_dir=Path("/nowhere"),
            resources=parse_resources("cpus:4;mem:8192"),
            import_path="",
        )

    # -- what may happen -------------------------------------------------------------------

    def start(self) -> None:
        if self.machine is None:
            self._cluster.story.note(self._name, "starts")
            self._life += 1
            recovered = checkpoint.recovered(self._files, self._settings)
            self.machine = Agent(self._settings, self._cluster.now_s, recovered)
            port = Port(self._name, self._cluster.streams, self._call, self._closed, self._cluster.story)
            self._cluster.network.hosts[self.address] = port
            self.carry_out()
            self.estimator.subscribe()

    def die(self) -> None:
        """As by SIGKILL: containers and disk stay."""
        if self.machine is not None:
            self._cluster.story.note(self._name, "dies")
            self.machine = None
            self._cluster.network.server_died(self.address)
            self.estimator.cut_off()
            self.to_agent.lose()
            self._to_master.send(lambda: self._cluster.disconnected(self.id))

    @property
    def link_held(self) -> bool:
        return self.to_agent.held

    def hold_link(self, held: bool) -> None:
        """Holds back what master and agent have for one another, or lets it go."""
        self.to_agent.hold(held)
        self._to_master.hold(held)

    def tick(self) -> None:
        if self.machine is not None:
            self.machine.tick()
            self.carry_out()

    def heal(self) -> None:
        self.hold_link(False)
        self.start()
        self.estimator.subscribe()
        self.estimator.report(SLACK_CPUS)

    # -- messages, calls, effects ----------------------------------------------------------

    def send(self, message: ToAgent) -> None:
        """From the master; lost if the agent is not there, or a later one than that which it has registered."""
        life = self._linked_life
        self.to_agent.send(lambda: self.do(lambda machine: machine.receive(message)) if life == self._life else None)

    def _tell_master(self, message: ToMaster, life: int) -> None:
        if isinstance(message, RegisterAgent | ReregisterAgent):
            self._linked_life = life
        self._cluster.receive(self.id, message)

    def do(self, change: Callable[[Agent], None]) -> None:
        if self.machine is not None:
            change(self.machine)
            self.carry_out()

    def _call(self, call: Json, stream_id: str | None) -> None:
        assert self.machine is not None
        if call["type"] == "SUBSCRIBE":
            assert stream_id is not None
            self.machine.executor_calls.subscribe(stream_id, call)
        else:
            self.machine.executor_calls.call(call)
        self.carry_out()

    def _closed(self, stream_id: str) -> None:
        self.do(lambda machine: machine.stream_closed(stream_id))

    def container_ended(self, container_id: str, wait_status: int | None) -> None:
        self.do(lambda machine: machine.container_ended(container_id, wait_status))

    def carry_out(self) -> None:
        assert self.machine is not None
        effects = self.machine.outbox.copy()
        self.machine.outbox.clear()
        for effect in effects:
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        containers = self._cluster.containers
        if isinstance(effect, Send) and effect.stream_id == self.estimator.stream_id:
            self.estimator.take(effect.event)
        elif isinstance(effect, ToMaster):
            self._to_master.send(partial(self._tell_master, effect, self._life))
        elif isinstance(effect, Checkpoint):
            self._files[effect.path] = effect.content
        elif isinstance(effect, Forget):
            self._files = {path: each for path, each in self._files.items() if not path.startswith(f"{effect.path}/")}
        elif isinstance(effect, LaunchContainer):
            self._launch(effect)
        elif isinstance(effect, DestroyContainer):
            containers.destroy(effect.container_id)
        elif isinstance(effect, RecoverContainers):
            containers.recover(self, {each.container_id for each in effect.containers})
        else:
            self._cluster.perform(effect)

    def _launch(self, container: LaunchContainer) -> None:
        pid = next(self._cluster.pids)
        self._cluster.containers.launch(self, container, pid)
        launched = self._cluster.network.channel()
        launched.send(lambda: self.do(lambda machine: machine.container_launched(container.container_id, pid)))


class Estimator:
    """Reports the slack on an agent; an agent that dies finds it again when it is back."""

    def __init__(self, agent: SimAgent, cluster: Cluster) -> None:
        self.stream_id: str | None = None
        self._agent = agent
        self._cluster = cluster
        self._to_agent = cluster.network.channel()
        self._id: str | None = None
        self._numbers = 0
        self._cpus = SLACK_CPUS

    def subscribe(self) -> None:
        if self.stream_id is None and self._agent.machine is not None:
            self._numbers += 1
            self.stream_id = stream_id = f"estimator-{self._agent.id}-{self._numbers}"
            info: Json = {"type": "org.serenity.slack", "name": "slack"}
            if self._id is not None:
                info["id"] = {"value": self._id}
            call = {"type": "SUBSCRIBE", "subscribe": {"resource_provider_info": info}}
            self._send(lambda machine: machine.provider_subscribe(stream_id, call))

    def end(self) -> None:
        stream_id, self.stream_id = self.stream_id, None
        if stream_id is not None:
            self._send(lambda machine: machine.stream_closed(stream_id))

    def cut_off(self) -> None:
        """The agent is gone, and with it what was on its way there."""
        self.stream_id = None
        self._to_agent.lose()

    def report(self, cpus: float) -> None:
        """A new total, under a new version: outstanding offers are rescinded."""
        self._cpus = cpus
        self._numbers += 1
        if self.stream_id is not None and self._id is not None:
            self._cluster.story.note(f"estimator of {self._agent.id}", f"{cpus} cpus, version {self._numbers}")
            provider_id = {"value": self._id}
            self._call(
                "UPDATE_STATE",
                resources=[
                    {**each, "provider_id": provider_id} for each in slack(ROLE, cpus=cpus, mem=4096.0).to_json()
                ],
                resource_version_uuid={"value": f"version-{self._numbers}"},
            )

    def take(self, event: Json) -> None:
        if event["type"] == "SUBSCRIBED":
            self._id = event["subscribed"]["provider_id"]["value"]
            self.report(self._cpus)
        elif event["type"] == "PUBLISH_RESOURCES":
            self._call("UPDATE_PUBLISH_RESOURCES_STATUS", uuid=event["publish_resources"]["uuid"], status="OK")

    def _call(self, kind: str, **body: Any) -> None:
        stream_id = self.stream_id
        call = {"type": kind, "resource_provider_id": {"value": self._id}, kind.lower(): body}
        self._send(lambda machine: machine.provider_call(stream_id, call))

    def _send(self, do: Callable[[Agent], None]) -> None:
        def arrive(machine: Agent) -> None:
            with contextlib.suppress(CallRefused):  # The stream has been given up meanwhile.
                do(machine)

        self._to_agent.send(lambda: self._agent.do(arrive))
