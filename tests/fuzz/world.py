"""A simulated world: framework, Mesos, executors and users, and what may happen to them.

All of it is the real code, down to the doors in `doors.py`.  What happens next is always
chosen from outside: `act` does one thing, `settle` everything there is to do.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from serenity.executor.agent_link import AgentLink
from serenity.executor.corrections.actuators.stop_and_go import StopAndGo
from serenity.executor.corrections.corrector import Corrector
from serenity.executor.executor import Executor
from serenity.executor.runner import TaskRunner
from serenity.executor.settings import ExecutorSettings
from serenity.executor.tasks.launch import Surroundings
from serenity.framework.loop import LoopEnded
from serenity.framework.service import Framework
from serenity.framework.settings import FrameworkSettings
from serenity.framework.store.errors import StoreError
from serenity.localmesos.messages import LaunchContainer
from serenity.wire.messages.api import JobRequest
from tests.fuzz import doors
from tests.fuzz.agents import ROLE, SimAgent
from tests.fuzz.disk import Disk
from tests.fuzz.kernel import Kernel, Run, SimInbox
from tests.fuzz.mesos import MASTER, Cluster
from tests.fuzz.network import Network
from tests.fuzz.story import Story
from tests.fuzz.threads import Process, Threads
from tests.fuzz.truth import Truth
from tests.manual_clock import ManualClock

_BEGIN_S = 1_800_000_000.0
# Nothing but an endless loop takes longer to come to rest.
_ACTIONS_TO_REST = 20_000
# It comes when a call of a process that died, or that gave the call up, arrives after its successor's: to the
# master that is another instance, and of two one has to go.
_GOOD_REASONS_TO_GIVE_UP = ("Framework failed over",)
# Retries wait for up to five minutes, kills are repeated and agents avoided for up to ten.
_PAUSES_S = (1.0, 1.0, 5.0, *[10.0] * 12, *[30.0] * 20, *[60.0] * 60)


class World:
    def __init__(self, sizes: Iterable[int] = ()) -> None:
        """`sizes`: of the pieces in which streams arrive."""
        self.clock = ManualClock(_BEGIN_S)
        self.threads = Threads(self.clock)
        self.network = Network(self.threads, self.clock.monotonic_s, sizes)
        self.story = Story(self.clock.monotonic_s)
        self.disk = Disk(self.story)
        self.truth = Truth(self)
        self.executors: dict[str, ExecutorProcess] = {}  # By container id.
        self.cluster = Cluster(self.network, self._steady_s, self, self.truth, self.story)
        self.framework: FrameworkProcess | None = None
        self._lives = itertools.count(1)
        self._dying = False

    @contextlib.contextmanager
    def running(self) -> Iterator[World]:
        with doors.closed(self) as tracebacks:
            self.truth.tracebacks = tracebacks
            self.cluster.start()
            self.start_framework()
            try:
                yield self
            finally:
                for process in self._processes():
                    self.threads.kill(process)

    def _steady_s(self) -> float:
        """Unix time as Mesos knows it: steps of the wall clock leave it alone."""
        return _BEGIN_S + self.clock.monotonic_s()

    # -- what happens next -----------------------------------------------------------------

    @property
    def enabled(self) -> int:
        """How many things could happen next."""
        return self.threads.runnable + len(self.network.busy)

    def act(self, choice: int = 0) -> bool:
        """One of them happens; 0 is the one that has waited longest.  False if there is none."""
        if not self.enabled:
            return False
        choice %= self.enabled
        if choice < self.threads.runnable:
            self.threads.step(choice)
        else:
            next(itertools.islice(self.network.busy, choice - self.threads.runnable, None)).deliver()
        if self._dying:
            self._dying = False
            self.crash_framework(lost=False)
            self.start_framework()
        return True

    def settle(self) -> None:
        for _ in range(_ACTIONS_TO_REST):
            if not self.act():
                return
        raise AssertionError("it does not come to rest")

    def wait(self, seconds: float) -> None:
        """Time passes, and nobody is given the time to do anything in it."""
        self.clock.advance(seconds)
        self.threads.ring()
        self.network.ring()
        self.cluster.tick()

    def rest(self) -> None:
        """Nothing bad happens any more, and all comes to its end.  Raises AssertionError for what does not."""
        self.story.note("the world", "nothing bad happens from now on")
        self.network.heal()
        self.disk.busy = 0
        self.cluster.heal()
        self.start_framework()
        self._rest_until(self.truth.disagreements, lambda: None)
        self._rest_until(self.truth.left_over, self._finish)
        for mistake in self.truth.mistakes():
            raise AssertionError(mistake)

    def _finish(self) -> None:
        for run in self.runs:
            self.exit(run, 0)

    def _rest_until(self, complaints: Callable[[], Iterator[str]], meanwhile: Callable[[], None]) -> None:
        for pause_s in _PAUSES_S:
            self.settle()
            self.truth.check()
            complaint = next(complaints(), None)
            if complaint is None:
                return
            meanwhile()
            self.wait(pause_s)
        raise AssertionError(complaint)

    # -- users -----------------------------------------------------------------------------

    def submit(self, request: JobRequest) -> None:
        self._ask(lambda framework: self.truth.accepted.append(framework.submit(request).id))

    def kill(self, job_id: str) -> None:
        self.truth.kills_asked.add(job_id)
        self._ask(lambda framework: self.truth.kill_taken(framework.kill(job_id)))

    def _ask(self, ask: Callable[[Framework], object]) -> None:
        """In a thread of the framework, as its API does."""
        if self.framework is not None:
            self.threads.run(self.framework.process, partial(self.framework.serve, ask), "api")

    # -- processes live and die ------------------------------------------------------------

    def start_framework(self) -> None:
        if self.framework is None:
            self.story.note("framework", "starts")
            self.framework = FrameworkProcess(self, next(self._lives))

    def crash_framework(self, lost: bool) -> None:
        """`lost`: the calls that it has made last are lost as well."""
        if self.framework is not None:
            self.story.note("framework", "dies")
            process, self.framework = self.framework.process, None
            self.threads.kill(process)
            self.network.client_died(process, lost)

    def launch(self, agent: SimAgent, container: LaunchContainer, pid: int) -> None:
        self.executors[container.container_id] = ExecutorProcess(self, agent, container, pid)

    def destroy(self, container_id: str) -> None:
        if container_id in self.executors:
            self.crash_executor(self.executors[container_id])

    def recover(self, agent: SimAgent, container_ids: set[str]) -> None:
        for executor in [each for each in self.executors.values() if each.agent is agent]:
            if executor.container_id not in container_ids:
                self.crash_executor(executor)
        for container_id in container_ids - self.executors.keys():
            self.network.channel().send(partial(agent.container_ended, container_id, None))

    def crash_executor(self, executor: ExecutorProcess, status: int = 9, lost: bool = False) -> None:
        """Its tasks die with it."""
        self.story.note(str(executor.process), "ends")
        executor.kernel.kill_all()
        self.threads.kill(executor.process)
        self.network.client_died(executor.process, lost)
        if self.executors.pop(executor.container_id, None) is not None:
            self.network.channel().send(lambda: executor.agent.container_ended(executor.container_id, status))

    def die_here(self) -> None:
        """For a thread of the framework: it is killed before it does anything more, and started anew."""
        self._dying = True
        self.threads.park()

    @property
    def kernel(self) -> Kernel:
        """That of the process which runs just now."""
        assert self.threads.current is not None
        process = self.threads.current.process
        return next(each.kernel for each in self.truth.executors if each.process is process)

    def _processes(self) -> list[Process]:
        processes = [each.process for each in self.executors.values()]
        return processes + ([self.framework.process] if self.framework is not None else [])

    @property
    def runs(self) -> list[Run]:
        """The tasks' processes that are alive."""
        return [run for each in self.executors.values() for run in each.kernel.alive]

    def exit(self, run: Run, code: int) -> None:
        """Its command ends by itself."""
        self.story.note(run.task_id, f"exits with {code}")
        self.executor_of(run).kernel.exit(run, code)

    def executor_of(self, run: Run) -> ExecutorProcess:
        return next(each for each in self.executors.values() if run in each.kernel.runs)


class FrameworkProcess:
    def __init__(self, world: World, life: int) -> None:
        self.process = Process(f"framework {life}")
        self._framework: Framework | None = None
        self._world = world
        world.threads.run(self.process, self._main, "main")

    def _main(self) -> None:
        settings = FrameworkSettings(master=MASTER, role=ROLE, database="sqlite:////nowhere", user="root")
        framework = Framework(settings, {}, self._world.clock, self._failed)
        framework.start()
        self._framework = framework
        self._world.threads.park()

    def serve(self, ask: Callable[[Framework], object]) -> None:
        """A user who gets no answer, or a bad one, knows nothing."""
        if self._framework is not None:
            with contextlib.suppress(StoreError, LoopEnded, TimeoutError):
                ask(self._framework)

    def _failed(self, why: str) -> None:
        if not any(each in why for each in _GOOD_REASONS_TO_GIVE_UP):
            self._world.truth.violated(f"the framework gave up: {why}")
        self._world.network.channel().send(self._exit)

    def _exit(self) -> None:
        """Whoever supervises it starts it again."""
        if self._world.framework is self:
            self._world.crash_framework(lost=False)
            self._world.start_framework()


class ExecutorProcess:
    def __init__(self, world: World, agent: SimAgent, container: LaunchContainer, pid: int) -> None:
        self.agent = agent
        self.container_id = container.container_id
        self.process = Process(f"executor {pid}")
        self.inbox = SimInbox(world.threads)
        self.kernel = Kernel(world.network, self.inbox, world.truth.began, world.cluster.pids)
        self._world = world
        self._container = container
        world.truth.executors.append(self)
        world.threads.run(self.process, self._main, "main")

    def _main(self) -> None:
        clock = self._world.clock
        inbox: Any = self.inbox  # These four stand in for real ones.
        trees: Any = self.kernel.trees
        cgroups: Any = NoCgroups()
        disk: Any = NoDisk()
        link = AgentLink(dict(self._container.environment), inbox.put)
        stop_and_go = StopAndGo(trees, clock)
        corrector = Corrector({"cpu": ()}, stop_and_go, clock)
        around = Surroundings(
            self.container_id,
            self._container.sandbox,
            environment={},
            nice=0,
            lowest_priority=False,
            task_user=None,
            allow_root=True,
            pids=1,
            disk_bytes=1 << 30,
            fetch_s=60.0,
        )
        executor = Executor(
            link,
            inbox,
            ExecutorSettings(qos=False),
            clock,
            Path("/nowhere"),
            lambda say: TaskRunner(say, inbox, clock, trees, corrector, cgroups, disk, around),
            corrector,
        )
        link.start()
        try:
            executor.run()
        finally:
            link.stop()
        self._world.network.channel().send(lambda: self._world.crash_executor(self, status=0))


class NoCgroups:
    def make(self) -> None:
        return None


class NoDisk:
    def add(self, _task_id: str, _limit_bytes: int) -> None:
        pass

    def remove(self, _task_id: str) -> None:
        pass
