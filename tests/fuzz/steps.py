"""What may happen in a simulated world, step by step; a schedule is a list of such steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from serenity.executor.guarding.actions import Decision, Evict
from serenity.executor.inbox import Decided
from serenity.qos.contention import Contention, Evidence, Finding, Suspect
from serenity.qos.frame import Container, Role
from serenity.wire.messages.api import JobRequest
from serenity.wire.messages.kill_record import Step as Rung
from tests.fuzz.agents import SimAgent
from tests.fuzz.network import Fate
from tests.fuzz.world import World

_MIB = 1 << 20


class Step(Protocol):
    def do(self, world: World) -> None: ...


Schedule = Sequence[Step]


def play(schedule: Schedule, pieces: Sequence[int] = (), world: World | None = None) -> World:
    """The world as it came to rest.  Raises AssertionError, with the whole story, for what should not have happened."""
    world = world or World(pieces)
    try:
        with world.running():
            for step in schedule:
                world.story.note("→", step)
                step.do(world)
                world.truth.check()
            world.rest()
    except Exception as error:
        error.add_note("\n".join(world.story.lines()))
        raise
    return world


@dataclass(frozen=True)
class Act:
    """So many single things happen; each number says which of those that could, 0 the oldest."""

    choices: tuple[int, ...]

    def do(self, world: World) -> None:
        for choice in self.choices:
            world.act(choice)


@dataclass(frozen=True)
class Settle:
    """Everything happens that can without time passing."""

    def do(self, world: World) -> None:
        world.settle()


@dataclass(frozen=True)
class Calm:
    """Some seconds in which everybody has all the time he needs."""

    seconds: int

    def do(self, world: World) -> None:
        for _ in range(self.seconds):
            world.settle()
            world.wait(1.0)
        world.settle()


@dataclass(frozen=True)
class Wait:
    seconds: float

    def do(self, world: World) -> None:
        world.wait(self.seconds)


@dataclass(frozen=True)
class Submit:
    command: str
    instances: int
    max_retries: int
    cpus: float
    max_runtime_s: float | None = None

    def do(self, world: World) -> None:
        request = JobRequest(
            command=(self.command,),
            name="job",
            instances=self.instances,
            max_retries=self.max_retries,
            cpus=self.cpus,
            max_runtime_s=self.max_runtime_s,
            mem_bytes=64 * _MIB,
        )
        world.submit(request)


@dataclass(frozen=True)
class Kill:
    job: int

    def do(self, world: World) -> None:
        if world.truth.accepted:
            world.kill(world.truth.accepted[self.job % len(world.truth.accepted)])


@dataclass(frozen=True)
class Exit:
    """A task's command ends by itself."""

    run: int
    code: int

    def do(self, world: World) -> None:
        if world.runs:
            world.exit(world.runs[self.run % len(world.runs)], self.code)


@dataclass(frozen=True)
class Evicted:
    """The guard decides against a task."""

    run: int

    def do(self, world: World) -> None:
        if world.runs:
            run = world.runs[self.run % len(world.runs)]
            world.executor_of(run).inbox.put(Decided((Evict(run.task_id, _decision(run.task_id)),)))


@dataclass(frozen=True)
class CrashFramework:
    """`lost`: the calls that it has made last are lost as well; `stays_down`: until `StartFramework`."""

    lost: bool
    stays_down: bool

    def do(self, world: World) -> None:
        world.crash_framework(self.lost)
        if not self.stays_down:
            world.start_framework()


@dataclass(frozen=True)
class StartFramework:
    def do(self, world: World) -> None:
        world.start_framework()


@dataclass(frozen=True)
class CrashExecutor:
    executor: int
    lost: bool

    def do(self, world: World) -> None:
        if world.executors:
            executors = list(world.executors.values())
            world.crash_executor(executors[self.executor % len(executors)], lost=self.lost)


@dataclass(frozen=True)
class NextCall:
    """What becomes of the next call of that type."""

    host: str
    kind: str
    fate: Fate

    def do(self, world: World) -> None:
        world.network.fate(self.host, self.kind, self.fate)


@dataclass(frozen=True)
class BreakStream:
    stream: int
    after_bytes: int

    def do(self, world: World) -> None:
        streams = world.network.streams
        if streams:
            streams[self.stream % len(streams)].break_after(self.after_bytes)


@dataclass(frozen=True)
class Slack:
    """The estimator reports another total, or the same under another version."""

    agent: int
    cpus: float

    def do(self, world: World) -> None:
        _agent(world, self.agent).estimator.report(self.cpus)


@dataclass(frozen=True)
class ToggleEstimator:
    """It dies, or comes back."""

    agent: int

    def do(self, world: World) -> None:
        estimator = _agent(world, self.agent).estimator
        if estimator.stream_id is None:
            estimator.subscribe()
        else:
            estimator.end()


@dataclass(frozen=True)
class ToggleLink:
    """Messages between master and agent are held back, or go on."""

    agent: int

    def do(self, world: World) -> None:
        agent = _agent(world, self.agent)
        agent.hold_link(not agent.link_held)


@dataclass(frozen=True)
class ToggleAgent:
    """Its process dies, and the executors stay; or it is started again."""

    agent: int

    def do(self, world: World) -> None:
        agent = _agent(world, self.agent)
        if agent.machine is None:
            agent.start()
        else:
            agent.die()


@dataclass(frozen=True)
class RemoveFramework:
    """An operator ends it: Mesos kills its tasks, and takes it for another one when it comes back.

    The agents are there and stay so: one that is away cannot kill them, and nobody can know.
    """

    def do(self, world: World) -> None:
        if _all_agents_are_there(world):
            world.cluster.remove_framework()
            Calm(7).do(world)


@dataclass(frozen=True)
class PowerCut:
    """Master and agents start anew, the master without a registry.

    The agents are back in some seconds: what they run is otherwise believed lost at last.
    """

    def do(self, world: World) -> None:
        if _all_agents_are_there(world):
            world.cluster.restart_all()
            Calm(5).do(world)


@dataclass(frozen=True)
class BusyDisk:
    commits: int

    def do(self, world: World) -> None:
        world.disk.busy = self.commits


@dataclass(frozen=True)
class JumpClock:
    """The wall clock alone, as NTP does."""

    by_s: float

    def do(self, world: World) -> None:
        world.clock.jump(self.by_s)


def _agent(world: World, index: int) -> SimAgent:
    return world.cluster.agents[index % len(world.cluster.agents)]


def _all_agents_are_there(world: World) -> bool:
    return not any(each.machine is None or each.link_held for each in world.cluster.agents)


def _decision(task_id: str) -> Decision:
    evidence = Evidence("cpi", "", 2.9, 1.4, 1.07, 0.5, 0.0, 5.0, 5, 0)
    production, suspect = _container("p", "production"), _container(task_id, "best_effort")
    contention = Contention("cpu", production, 0.5, evidence, "cpi")
    return Decision(Finding(contention, "cpu", (Suspect(suspect, 1.0),)), (Rung(action="evict", at=0.0, outcome=""),))


def _container(container_id: str, role: Role) -> Container:
    return Container(container_id, role, job="", cpus=1.0, mem_bytes=0.0)
