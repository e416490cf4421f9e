"""The slack as a resource provider of the agent: tells totals, and hears of launches."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from serenity.daemon.clock import Clock
from serenity.daemon.metrics import MetricsTable
from serenity.estimator import metrics
from serenity.estimator.provider_id import ProviderIdFile
from serenity.estimator.report import Amount, Report
from serenity.wire.mesos.provider import ProviderDriver, new_version, slack
from serenity.wire.mesos.resources import Resources
from serenity.wire.transport.access import Access
from serenity.wire.transport.http import HttpError, Unreachable

logger = logging.getLogger(__name__)

INFO = {"type": "org.serenity.slack", "name": "slack"}
_MIB = 1 << 20
# Between attempts to tell a total that the agent refused or did not take.
_RETRY_S = 1.0
# After the total was lowered, a launch on an older offer may still be on its way from the
# master; its publish must find us.  Without one for this long none comes.
_QUIET_S = 0.5


class SlackProvider:
    """One resource provider.  `tell` never blocks: a thread of its own speaks to the agent.

    `launching` is called with the whole use of this provider when a launch on it is coming,
    `gave_up` with the reason when no further attempt to subscribe makes sense.
    """

    def __init__(
        self,
        agent: str,
        access: Access,
        role: str | None,
        id_file: ProviderIdFile,
        clock: Clock,
        table: MetricsTable,
        launching: Callable[[Amount], None],
        gave_up: Callable[[str], None],
    ) -> None:
        self._role = role
        self._id_file = id_file
        self._clock = clock
        self._metrics = table
        self._launching = launching
        self._gave_up = gave_up
        self._driver = ProviderDriver(self, agent, INFO, id_file.read(), access)
        self._wanted: Amount | None = None
        self._version = new_version()
        self._told: tuple[Amount, bytes] | None = None  # What the agent has taken, in this subscription.
        self._last_publish_s = -_QUIET_S
        self._changed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    @property
    def provider_id(self) -> str | None:
        return self._driver.provider_id

    @property
    def connected(self) -> bool:
        return self._driver.subscribed

    def start(self) -> None:
        self._thread.start()
        self._driver.start()

    def tell(self, report: Report) -> None:
        """The agent is to know this total from now on; told again after each subscription."""
        if report.new_version:
            self._version = new_version()
        self._wanted = report.total
        self._changed.set()

    def stop(self, held: Amount, timeout_s: float = 2.0) -> None:
        """Lowers the total to what is held, answers what is still coming, and closes the stream."""
        if self.connected:
            self.tell(Report(held.at_most(self._wanted or Amount()), new_version=True))
            deadline_s = self._clock.monotonic_s() + timeout_s
            lowered_s = self._clock.monotonic_s()
            while (now_s := self._clock.monotonic_s()) < deadline_s and self.connected:
                if self._up_to_date() and now_s - max(lowered_s, self._last_publish_s) >= _QUIET_S:
                    break
                self._stopping.wait(0.02)
        self._stopping.set()
        self._changed.set()
        self._driver.stop()

    # -- called by the driver ------------------------------------------------------------------

    def subscribed(self, provider_id: str) -> None:
        self._metrics.add(metrics.SUBSCRIPTIONS)
        self._metrics.set(metrics.SUBSCRIBED, 1)
        if provider_id != self._id_file.read():
            self._id_file.write(provider_id)
        logger.info("subscribed to the agent as resource provider %s", provider_id)
        self._told = None
        self._changed.set()

    def published(self, held: Resources) -> None:
        self._last_publish_s = self._clock.monotonic_s()
        self._metrics.add(metrics.PUBLISHES)
        self._launching(Amount(held.cpus, held.mem_bytes))

    def unsubscribed(self, reason: str) -> None:
        if self._metrics.value(metrics.SUBSCRIBED):
            logger.warning("the agent has no slack from us until we are subscribed again: %s", reason)
        self._metrics.set(metrics.SUBSCRIBED, 0)
        self._told = None

    def failed(self, reason: str) -> None:
        self._metrics.set(metrics.SUBSCRIBED, 0)
        self._gave_up(reason)

    # -- telling ---------------------------------------------------------------------------------

    def _up_to_date(self) -> bool:
        return self._wanted is None or self._told == (self._wanted, self._version)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._changed.wait()
            self._changed.clear()
            while self.connected and not self._up_to_date() and not self._stopping.is_set():
                if not self._send():
                    self._stopping.wait(_RETRY_S)

    def _send(self) -> bool:
        total, version = self._wanted, self._version
        assert total is not None  # Or nothing would be out of date.
        resources = slack(self._role, cpus=total.cpus, mem=total.mem_bytes / _MIB)
        try:
            self._driver.update_state(resources, version)
        except (Unreachable, HttpError) as error:
            self._metrics.add(metrics.REPORT_FAILURES)
            logger.warning("the agent was not told a total of %s: %s", resources, error)
            return False
        except Exception:
            # The slack would stand still for ever, in a daemon that looks healthy.
            self._metrics.add(metrics.REPORT_FAILURES)
            logger.exception("the agent was not told a total of %s", resources)
            return False
        self._told = (total, version)
        self._metrics.add(metrics.REPORTS)
        self._metrics.set(metrics.TOLD_CPUS, total.cpus)
        self._metrics.set(metrics.TOLD_MEM, total.mem_bytes)
        logger.debug("told the agent a total of %s", resources)
        return True
