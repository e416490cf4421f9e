"""One estimator on one agent: sampling, slack, provider, valve and node socket together."""

from __future__ import annotations

import itertools
import logging
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import msgspec

from serenity.daemon.clock import Clock
from serenity.daemon.metrics import MetricsTable
from serenity.estimator import metrics
from serenity.estimator.account.balance import Balance
from serenity.estimator.account.earlier import Earlier
from serenity.estimator.account.report import Amount
from serenity.estimator.agent.provider import SlackProvider
from serenity.estimator.agent.provider_id import ProviderIdFile
from serenity.estimator.kept.frames import KeptFrames
from serenity.estimator.kept.history import History
from serenity.estimator.kept.leases import KeptLeases
from serenity.estimator.kept.packed_frame import pack
from serenity.estimator.kept.predictor import KeptPredictor
from serenity.estimator.kept.state_writer import StateWriter
from serenity.estimator.left_over import LeftOver
from serenity.estimator.node_server import NodeServer
from serenity.estimator.settings import EstimatorSettings
from serenity.estimator.slack.pipeline import SlackPipeline, SlackStages
from serenity.estimator.ticks import Ticks
from serenity.qos.frame import Frame
from serenity.qos.sources.roster import Roster
from serenity.qos.sources.sampler import Sampler
from serenity.qos.sources.turns import Turns
from serenity.wire.mesos.state import AgentIdentity
from serenity.wire.messages import node
from serenity.wire.transport.access import Access

logger = logging.getLogger(__name__)

# After this many intervals without a frame the loop is stuck.
_LATE_INTERVALS = 3
# What is wrong with a sample or two passes by itself: a file, a container that is going.  What has not by now stands in
# this process, and another one begins without it; until then executors would get no frames, who sample by themselves as
# soon as nobody is here.
_FAILED_IN_A_ROW = 10
# A disk that hangs for longer is not waited for: by an operator for a lease that is to outlast us, and by our own end.
_KEPT_WITHIN_S = 2.0
_LAST_WRITES_S = 3.0


class Session:
    """Lives as long as the agent's id does; an agent with another id is another node to Mesos.

    `roster` is running, and knows the agent.

    Raises:
        Taken: another estimator serves this agent.
        OSError: a folder or the socket cannot be made.
    """

    def __init__(
        self,
        settings: EstimatorSettings,
        access: Access,
        stages: SlackStages,
        roster: Roster,
        agent: AgentIdentity,
        clock: Clock,
        table: MetricsTable,
    ) -> None:
        self.ended_because: str | None = None  # Why no further session makes sense.
        self._settings = settings
        self._roster = roster
        self._agent = agent
        self._clock = clock
        self._metrics = table
        self._ticks = Ticks(clock, settings.interval_s)
        self._sampler = Sampler(roster, clock, settings.rules, of_node=True)
        self._pipeline = SlackPipeline(stages)
        self._writer = StateWriter()
        self._kept_predictor = KeptPredictor(
            settings.state_folder / f"{agent.agent_id}.predictor", self._pipeline, self._writer
        )
        self._bounds = settings.bounds
        self._history = History()
        self._kept_frames = KeptFrames(settings.state_folder / f"{agent.agent_id}.frames", self._writer)
        self._left_over = LeftOver(settings.run_folder, clock)
        self._frame_at_s: float | None = None
        self._failed_ticks = 0  # In a row.
        self._readings: set[str] = set()  # Names of all that there have been.
        self._id_file = ProviderIdFile(settings.state_folder, agent.agent_id)
        try:
            path = node.socket_path(agent.agent_id, settings.run_folder)
            self._server = NodeServer(path, self, dropped=lambda: table.add(metrics.DROPPED_READERS))
        except BaseException:
            self._id_file.close()
            raise
        self._earlier = Earlier(
            settings.state_folder / f"{agent.agent_id}.earlier", settings.reservation, self._writer.run
        )
        self._provider = SlackProvider(
            settings.agent,
            agent.agent_id,
            access,
            settings.reservation,
            self._id_file,
            clock,
            table,
            self._launching,
            self._settling,
            self._gave_up,
            self._writer.run,
        )
        self._kept_predictor.load()
        again = False
        for frame in self._kept_frames.load(self._ticks.now_s()):
            self._history.add(frame)
            again = True
        kept = KeptLeases(settings.state_folder / f"{agent.agent_id}.leases", clock, self._writer)
        self._balance = Balance(stages.report, clock, table, self._provider.tell, kept.load(), kept.keep, again)

    def run(self, stopping: threading.Event) -> None:
        """Samples until `stopping`, until the agent has another id, or until the provider gave up.

        Raises:
            RuntimeError: the samples of late all failed, of a bug of ours.
        """
        self._server.start()
        self._provider.start()
        try:
            self._try(self._first_sample)
            while not stopping.wait(self._ticks.wait_s()):
                look = self._roster.latest
                if look is not None and look.identity.agent_id not in (self._agent.agent_id, ""):
                    logger.warning("the agent has a new id, %s; starting anew for it", look.identity.agent_id)
                    return
                if self.ended_because is not None:
                    return
                self._try(self._tick)
        finally:
            self._server.stop()  # First: a release would raise the total again.
            self._provider.stop(self._balance.held)
            self._sampler.close()
            self._kept_frames.write()
            self._kept_predictor.write()
            self._writer.put("lock", self._id_file.close, self._let_go)
            if self._writer.settle(_LAST_WRITES_S):
                self._writer.close()
            else:
                logger.error(
                    "%s hangs: what was learnt of late is not kept, and this process may end only when it goes on",
                    self._settings.state_folder,
                )

    def _let_go(self, error: OSError | None) -> None:
        if error is not None:
            logger.error("the lock in %s could not be removed: %s", self._settings.state_folder, error)

    def _try(self, sample: Callable[[], None]) -> None:
        """Where it fails in a way that nobody has foreseen there is no new slack, and the next may succeed."""
        try:
            sample()
        except Exception as error:
            self._failed_ticks += 1
            self._metrics.add(metrics.FAILED_TICKS)
            if self._failed_ticks == 1:
                logger.exception("this is a bug in Serenity: a sample failed, and gives no new slack")
            if self._failed_ticks == _FAILED_IN_A_ROW:
                raise RuntimeError(f"{_FAILED_IN_A_ROW} samples in a row have failed") from error
            why = f"the last sample failed: {error!r}"
            self._balance.estimated(replace(self._balance.slack, fresh=False, why=(why,)), None, Amount())
        else:
            self._failed_ticks = 0

    def _first_sample(self) -> None:
        """Rates need two: without it nobody's CPU would be known by the first tick."""
        self._sampler.sample(self._ticks.now_s())

    def _tick(self) -> None:
        frame, turns = self._sampler.sample(self._ticks.now_s()), Turns()
        look = self._sampler.look  # The frame's own, and not a later one.
        frame = replace(frame, readings={**frame.readings, "valve_closed": float(self._balance.valve_closed)})
        slack = self._bounds.apply(self._pipeline.step(frame))
        if look is None:
            over = self._balance.estimated(slack, None, Amount())
        else:
            earlier = self._earlier.held(look.containers)
            over = self._balance.estimated(slack, look.asked_at_s, Amount.floor(*look.held), earlier)
        self._frame_at_s = self._clock.monotonic_s()
        turns.give()
        encoded = msgspec.json.encode(frame.to_json())
        turns.give()
        packed = pack(encoded)
        turns.give()  # The last one: who comes between the history and the publishing would get this frame twice.
        self._history.add(packed)
        self._kept_frames.add(packed)
        self._kept_predictor.look(frame.t)
        sample = {"type": "sample", "frame": msgspec.Raw(encoded), "overcommitment": over}
        self._server.publish(msgspec.json.encode(sample) + b"\n")
        self._count(frame)
        self._left_over.look()

    def _count(self, frame: Frame) -> None:
        table, production = self._metrics, int(frame.production.sum())
        table.add(metrics.FRAMES)
        table.set(metrics.CONTAINERS, production, role="production")
        table.set(metrics.CONTAINERS, len(frame) - production, role="best_effort")
        table.set(metrics.MISSED_TICKS, self._ticks.missed)
        table.set(metrics.SAMPLE_CPU, self._sampler.last_cost_s)
        table.set(metrics.AGENT_FAILURES, self._roster.failures)
        table.set(metrics.EXECUTORS, self._server.executors)
        for source, failures in self._sampler.faults.items():
            table.set(metrics.SOURCE_FAILURES, failures, source=source)
        self._readings |= frame.readings.keys()
        for name in self._readings:
            table.set(metrics.READING, frame.readings.get(name, math.nan), reading=name)

    # -- the provider's words ------------------------------------------------------------------

    def _launching(self, use: Amount) -> None:
        self._balance.launching(use)

    def _settling(self, another_id: bool) -> None:
        look = self._roster.latest
        containers = look.containers if look is not None else ()
        self._earlier.settle(another_id, containers)
        self._balance.is_another(self._earlier.held(containers))

    def _gave_up(self, reason: str) -> None:
        self.ended_because = reason

    # -- executors' and operators' words ----------------------------------------------------------

    def greeting(self) -> Iterator[bytes]:
        welcome = node.Welcome(
            agent_id=self._agent.agent_id, hostname=self._agent.hostname, interval_s=self._settings.interval_s
        )
        return itertools.chain((node.encode_line(welcome),), self._history.lines())

    def tasks(self, hello: node.Hello, tasks: node.Tasks) -> None:
        self._sampler.declare(hello.container_id, tasks.tasks)

    def gone(self, hello: node.Hello) -> None:
        self._sampler.withdraw(hello.container_id)

    def lease(self, lease: node.Lease) -> None:
        self._balance.hold(lease.holder, lease.reason, lease.ttl_s)

    def release(self, release: node.Release) -> bool:
        return self._balance.release(release.holder)

    def holders(self) -> node.Leases:
        if not self._writer.settle(_KEPT_WITHIN_S):  # An operator goes away once this is answered.
            logger.error(
                "%s hangs: who holds the valve would not be known after a restart", self._settings.state_folder
            )
        return node.Leases(leases=self._balance.leases)

    # -- shown over HTTP -------------------------------------------------------------------------

    def slack_json(self) -> dict[str, Any]:
        """The slack as it stands: totals, what is told, held, free, and why."""
        return {
            "agent_id": self._agent.agent_id,
            "hostname": self._agent.hostname,
            "role": self._settings.role,
            "subscribed": self._provider.connected,
            "provider_id": self._provider.provider_id,
            **self._balance.to_json(self._provider.told),
        }

    def ailments(self) -> list[str]:
        found, slack = [], self._balance.slack
        at_s = self._frame_at_s
        if at_s is None or self._clock.monotonic_s() - at_s > _LATE_INTERVALS * self._settings.interval_s:
            found.append("no frame was sampled of late")
        if not slack.fresh:
            found.append(f"no new slack: {'; '.join(slack.why)}")
        if not self._provider.connected:
            found.append("not subscribed to the agent as a resource provider")
        return found
