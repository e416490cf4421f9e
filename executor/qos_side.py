"""The guarding half: the estimator's socket, the frames, the tick; started once the agent has told who we are."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from serenity.daemon.clock import Clock
from serenity.executor.agent_link import AgentLink
from serenity.executor.executor import Executor
from serenity.executor.frames import Frames
from serenity.executor.guarding.accusations import Accusations
from serenity.executor.guarding.decisions import Decisions
from serenity.executor.guarding.guard import Guard
from serenity.executor.guarding.overcommitment import MemoryOverrun, SlackLimits
from serenity.executor.inbox import Event, Subscribed
from serenity.executor.node_client import NodeClient
from serenity.executor.settings import ExecutorSettings
from serenity.executor.statistics import JobsOnAgent
from serenity.executor.tick import TickLoop
from serenity.qos.frame import Frame
from serenity.qos.pipeline import Pipeline
from serenity.qos.sources.cpu_type import cpu_type
from serenity.qos.sources.roster import Roster
from serenity.qos.sources.sampler import Sampler
from serenity.wire.mesos.state import AgentReader
from serenity.wire.messages.framework_message import MessageError
from serenity.wire.messages.node import Accuse, Hello, TaskOnNode, qos_off_file, run_dir, socket_path
from serenity.wire.messages.statistics import decode_known_jobs
from serenity.wire.transport.access import Access
from serenity.wire.transport.libprocess import agent_endpoint

logger = logging.getLogger(__name__)


class QosSide:
    """Even without QoS it tells the estimator which tasks run: these have rows of their own then."""

    def __init__(
        self,
        settings: ExecutorSettings,
        environ: Mapping[str, str],
        pipeline: Pipeline,
        clock: Clock,
        executor: Executor,
        put: Callable[[Event], None],
        link: AgentLink,
        access: Access,
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._pipeline = pipeline
        self._clock = clock
        self._executor = executor
        self._put = put
        self._link = link
        self._reader = AgentReader(str(agent_endpoint(environ)), access=access)
        self._node: NodeClient | None = None
        self._tick: TickLoop | None = None
        self._cpu_type = cpu_type()
        self._jobs = JobsOnAgent(self._cpu_type)
        executor.on_subscribed = self._subscribed

    def stop(self) -> None:
        if self._tick is not None:
            self._tick.stop()
        if self._node is not None:
            self._node.stop()

    def _subscribed(self, event: Subscribed) -> None:
        """Main thread.  A later subscription changes nothing: the container stays the same."""
        if self._node is not None:
            return
        directory = Path(self._settings.run_dir) if self._settings.run_dir else run_dir(self._environ)
        hello = Hello(
            framework_id=self._link.framework_id,
            executor_id=self._link.executor_id,
            container_id=event.container_id,
            pid=os.getpid(),
        )
        frames = Frames(self._clock, lambda: _Sampling(self._reader, event, self._clock))
        on_frames = frames.received if self._settings.qos else _ignore
        accusations = Accusations(self._clock, event.container_id)
        node = self._node = NodeClient(socket_path(event.agent_id, directory), hello, on_frames, accusations)

        def tasks_changed(tasks: tuple[TaskOnNode, ...]) -> None:
            node.declare(tasks)
            frames.declare(tasks)

        self._executor.on_tasks = tasks_changed
        self._executor.measured = frames.measured
        self._executor.on_message = self._framework_said
        node.start()
        if not self._settings.qos:
            logger.info("QoS is off: nothing is detected, nothing corrected")
            return
        self._tick = TickLoop(
            frames,
            Decisions(
                self._pipeline,
                Guard(self._settings, self._clock, event.container_id),
                accusations,
                MemoryOverrun(self._clock),
                SlackLimits(self._settings.step_s, self._settings.step_share, self._clock),
            ),
            _NodeLeftAlone() if self._settings.dry_run else node,
            self._settings.lease_s,
            lambda: self._executor.views,
            self._put,
            self._clock,
            qos_off_file(directory).exists,
            self._tell_of_jobs,
        )
        self._tick.start()

    def _tell_of_jobs(self, frame: Frame) -> None:
        """The tick's thread."""
        told = self._jobs.observe(frame)
        if told is not None:
            self._link.message(told.encode())

    def _framework_said(self, data: str) -> None:
        """Main thread."""
        try:
            known = decode_known_jobs(data)
        except MessageError as error:
            logger.warning("the framework said what this version does not understand: %s", error)
            return
        if self._tick is not None and known.cpu_type == self._cpu_type:
            self._tick.know(known)


class _Sampling:
    """A sampler and the roster that it reads."""

    def __init__(self, reader: AgentReader, event: Subscribed, clock: Clock) -> None:
        self._container_id = event.container_id
        self._roster = Roster(reader, clock)
        self._sampler = Sampler(self._roster, clock)
        self._roster.start()

    def declare(self, tasks: tuple[TaskOnNode, ...]) -> None:
        self._sampler.declare(self._container_id, tasks)

    def sample(self, now: float) -> Frame:
        return self._sampler.sample(now)

    def close(self) -> None:
        self._roster.stop()
        self._sampler.close()


class _NodeLeftAlone:
    """A dry run decides all and does nothing; closing the valve would take the slack from everybody."""

    def lease(self, reason: str, ttl_s: float) -> None:
        logger.debug("dry run: the valve would be closed: %s", reason)

    def release(self) -> None:
        """It was never closed."""

    def accuse(self, message: Accuse) -> None:
        logger.info("dry run: the executor of %s would be told of it", message.task_id)


def _ignore(_frames: list[Frame], _overcommitment: object) -> None:
    """Without QoS nobody looks at them."""
