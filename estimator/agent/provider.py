"""The slack as a resource provider of the agent: tells the agent totals, and hears of launches from it."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable

from serenity.daemon.clock import Clock
from serenity.daemon.metrics import MetricsTable
from serenity.estimator import metrics
from serenity.estimator.account.report import Amount, Report
from serenity.estimator.agent import suitability
from serenity.estimator.agent.provider_id import ProviderIdFile
from serenity.wire.mesos.provider import ProviderDriver, new_version, slack
from serenity.wire.mesos.resources import Resources
from serenity.wire.mesos.state import AgentReader
from serenity.wire.mesos.subscription import FinalError
from serenity.wire.transport.access import Access
from serenity.wire.transport.http import HttpError, Unreachable

logger = logging.getLogger(__name__)

INFO = {"type": "org.serenity.slack", "name": "slack"}
_MIB = 1 << 20
# Pause before a total that the agent refused or did not take is told again.
_RETRY_S = 1.0
# After the total was lowered, a launch on an older offer may still be on its way from the
# master, and we must be there to answer its publish.  After this long without a publish, none will come.
_QUIET_S = 0.5
# A busy agent still lists a provider whose stream has ended, for longer than the driver waits.
_FORGOTTEN_WITHIN_S = 3.0
_LOOK_AGAIN_S = 0.2


class SlackProvider:
    """One resource provider of agent `agent_id`.  `tell` never blocks: a separate thread talks to the agent.

    `launching` is called when a launch on this provider is coming, with the provider's whole use.  `settling` is
    called in each subscription before a total is told, with whether the provider's id has changed; it may raise
    OSError.  `gave_up` is called with the reason when no further attempt to subscribe makes sense.  `on_disk` runs a
    function that waits for the disk, and returns when that has finished.
    """

    def __init__(
        self,
        agent: str,
        agent_id: str,
        access: Access,
        role: str | None,
        id_file: ProviderIdFile,
        clock: Clock,
        table: MetricsTable,
        launching: Callable[[Amount], None],
        settling: Callable[[bool], None],
        gave_up: Callable[[str], None],
        on_disk: Callable[[Callable[[], None]], None] = lambda do: do(),
    ) -> None:
        self._agent_id = agent_id
        self._reader = AgentReader(agent, access=access)
        self._role = role
        self._id_file = id_file
        self._clock = clock
        self._metrics = table
        self._launching = launching
        self._settling = settling
        self._gave_up = gave_up
        self._on_disk = on_disk
        self._kept_id = id_file.read()
        self._driver = ProviderDriver(self, agent, INFO, self._kept_id, access, self._before_subscribing)
        self._lock = threading.Lock()  # Guards the next three.
        self._wanted: Amount | None = None
        self._version = new_version()
        self._ending = False
        self._turn = 0  # Counts subscriptions that ended, and attempts that failed.
        self._settled: int | None = None  # The turn in which the agent and our id were checked last.
        self._told: tuple[Amount, bytes, int] | None = None  # What the agent took last, and in which turn.
        self._told_s = self._last_publish_s = -_QUIET_S
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    @property
    def provider_id(self) -> str | None:
        return self._driver.provider_id

    @property
    def connected(self) -> bool:
        return self._driver.subscribed

    @property
    def told(self) -> Amount | None:
        """The total of ours that the agent goes by; None while it has none."""
        told = self._told
        return told[0] if told is not None and self.connected and told[2] == self._turn else None

    def start(self) -> None:
        self._thread.start()
        self._driver.start()

    def tell(self, report: Report) -> None:
        """The agent is told this total, and again after each new subscription.  Does nothing once `stop` has begun."""
        with self._lock:
            if not self._ending:
                self._want(report)

    def _want(self, report: Report) -> None:
        if report.new_version:
            self._version = new_version()
        self._wanted = report.total
        self._changed.set()

    def stop(self, held: Amount, timeout_s: float = 2.0) -> None:
        """Lowers the total to what is held, answers publishes that are still on their way, and closes the stream."""
        with self._lock:
            self._ending = True
            self._want(Report(held.at_most(self._wanted or Amount()), new_version=True))
        deadline_s = self._clock.monotonic_s() + timeout_s
        while (now_s := self._clock.monotonic_s()) < deadline_s and self.connected:
            if self._up_to_date() and now_s - max(self._told_s, self._last_publish_s) >= _QUIET_S:
                break
            self._stopping.wait(0.02)
        self._stopping.set()
        self._changed.set()
        self._driver.stop()

    # -- called by the driver ------------------------------------------------------------------

    def _before_subscribing(self) -> None:
        """Checks the agent, whose flags and id may have changed since the last time.  No stream of ours is open."""
        deadline_s = self._clock.monotonic_s() + _FORGOTTEN_WITHIN_S
        while True:
            try:
                suitability.check(self._reader)
                suitability.check_ours(self._reader, self._agent_id, INFO, None)
                return
            except HttpError:
                # A recovering agent says which id it has only seconds later, and must have us before it launches
                # anything beside tasks that hold our slack.  Another agent does not know our id, and refuses us.
                if self._driver.provider_id is None:
                    raise
                return
            except suitability.AgentUnfit as error:
                if not isinstance(error, suitability.Crowded) or self._clock.monotonic_s() >= deadline_s:
                    raise FinalError(str(error)) from error
            if self._stopping.wait(_LOOK_AGAIN_S):
                raise Unreachable("we are stopping")

    def subscribed(self, provider_id: str) -> None:
        self._metrics.add(metrics.SUBSCRIPTIONS)
        self._metrics.set(metrics.SUBSCRIBED, 1)
        logger.info("subscribed to the agent as resource provider %s", provider_id)
        self._changed.set()

    def published(self, held: Resources) -> None:
        self._last_publish_s = self._clock.monotonic_s()
        self._metrics.add(metrics.PUBLISHES)
        self._launching(Amount(held.cpus, held.mem_bytes))

    def unsubscribed(self, reason: str) -> None:
        if self._metrics.value(metrics.SUBSCRIBED):
            logger.warning("the agent has no slack from us until we are subscribed again: %s", reason)
        self._metrics.set(metrics.SUBSCRIBED, 0)
        self._turn += 1

    def failed(self, reason: str) -> None:
        self._driver.stop()
        self._metrics.set(metrics.SUBSCRIBED, 0)
        self._gave_up(reason)

    # -- telling ---------------------------------------------------------------------------------

    def _up_to_date(self) -> bool:
        return self._wanted is None or self._told == (self._wanted, self._version, self._turn)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._changed.wait()
            self._changed.clear()
            while self.connected and not self._up_to_date() and not self._stopping.is_set():
                if not self._send():
                    self._stopping.wait(_RETRY_S)

    def _settle(self) -> None:
        """Runs before a subscription's first total: nothing is offered yet, and a later estimator finds us there."""
        provider_id = self._driver.provider_id
        suitability.check(self._reader)
        suitability.check_ours(self._reader, self._agent_id, INFO, provider_id)
        try:
            self._settling(provider_id is not None and provider_id != self._kept_id)
            if provider_id is not None:
                self._on_disk(functools.partial(self._id_file.write, provider_id))
                self._kept_id = provider_id
        except OSError as error:
            raise FinalError(
                f"the resource provider's id cannot be kept in {self._id_file.path}: {error.strerror or error};"
                " make room there, or choose another folder with --state-dir"
            ) from error

    def _send(self) -> bool:
        resources: Resources | None = None
        try:
            turn = self._turn
            if self._settled != turn:
                self._settle()
                self._settled = turn
            with self._lock:
                total, version = self._wanted, self._version
            assert total is not None  # Else `_up_to_date` would hold, and there would be nothing to send.
            resources = slack(self._role, cpus=total.cpus, mem=total.mem_bytes / _MIB)
            self._driver.update_state(resources, version)
        except (suitability.AgentUnfit, FinalError) as error:
            self.failed(str(error))
            return False
        except (Unreachable, HttpError) as error:
            self._metrics.add(metrics.REPORT_FAILURES)
            logger.warning("the agent was not told a total%s: %s", _of(resources), error)
            return False
        except Exception:
            # Uncaught, it would end this thread: the total would never change again, in a daemon that looks healthy.
            self._metrics.add(metrics.REPORT_FAILURES)
            logger.exception("the agent was not told a total%s", _of(resources))
            return False
        self._told, self._told_s = (total, version, turn), self._clock.monotonic_s()
        self._metrics.add(metrics.REPORTS)
        self._metrics.set(metrics.TOLD_CPUS, total.cpus)
        self._metrics.set(metrics.TOLD_MEM, total.mem_bytes)
        logger.debug("told the agent a total of %s", resources)
        return True


def _of(resources: Resources | None) -> str:
    """Empty if the attempt failed before the resources were known."""
    return "" if resources is None else f" of {resources}"
