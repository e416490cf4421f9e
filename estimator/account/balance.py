"""The node's slack account: what there is, what is held, what was told, and the valve between them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from serenity.daemon.clock import Clock
from serenity.daemon.metrics import MetricsTable
from serenity.estimator import metrics
from serenity.estimator.account.growth import Growth
from serenity.estimator.account.held import Held
from serenity.estimator.account.report import Amount, Report, next_report
from serenity.estimator.account.valve import ActiveLease, Valve
from serenity.estimator.slack.formula import Slack
from serenity.estimator.slack.pipeline import ReportParameters
from serenity.wire.messages.node import HeldLease, Overcommitment

logger = logging.getLogger(__name__)


class Balance:
    """Calls `tell` whenever the agent must know another total: at an estimate, and at once when the valve moves.

    Estimates come from the sampling, launches from the agent's stream, leases from executors and
    operators: each in a thread of its own.  `leases` held the valve before this process began; `keep` is called
    with all of them whenever they have changed.  `again`: an estimator ran here a moment ago, and the agent has had no
    slack since.  So the first total is what is held, and grows from there in steps.
    """

    def __init__(
        self,
        parameters: ReportParameters,
        clock: Clock,
        table: MetricsTable,
        tell: Callable[[Report], None],
        leases: Iterable[ActiveLease] = (),
        keep: Callable[[tuple[ActiveLease, ...]], None] = lambda _: None,
        again: bool = False,
    ) -> None:
        self._parameters = parameters
        self._clock = clock
        self._metrics = table
        self._tell = tell
        self._keep = keep
        self._growth = Growth(parameters.grow_s)
        self._again = again
        self._valve = Valve(clock, leases)
        self._held = Held()
        self._earlier = Amount()
        self._looked: tuple[float, Amount] | None = None  # When the agent was asked what is held, and that.
        self._slack = Slack(fresh=False, why=("nothing was sampled yet",))
        self._told: Amount | None = None
        self._told_closed = False
        self._lock = threading.Lock()
        for each in self._valve.leases:
            self._valve_moved("held", f"{each.holder} held it before ({each.reason})")

    def estimated(
        self,
        slack: Slack,
        looked_at_s: float | None,
        held: Amount,
        earlier: Amount = Amount(),  # noqa: B008 - it is frozen
    ) -> Overcommitment:
        """A new estimate; `held` by what the agent said when asked at `looked_at_s` (None: it said nothing).

        `earlier`: the part of it that is another provider's to the agent, which we were before.
        """
        with self._lock:
            if looked_at_s is not None:
                self._looked = looked_at_s, held
                self._take_off(earlier)
            for lease in self._valve.expire():
                self._valve_moved("ran_out", f"the lease of {lease.holder} ran out ({lease.reason})")
            self._slack = slack
            self._report()
            over = self._overcommitment()
            self._count(over)
            return over

    def is_another(self, earlier: Amount) -> None:
        """We have become another provider than `earlier` is held of; what the agent is to know changes at once."""
        with self._lock:
            self._take_off(earlier)
            if self._told is not None:
                self._report()

    def launching(self, use: Amount) -> None:
        """The agent is about to launch; `use` is the whole use of our resources, that launch included."""
        with self._lock:
            self._held.published(self._clock.monotonic_s(), use)

    def hold(self, holder: str, reason: str, ttl_s: float) -> None:
        """Takes or prolongs a lease.  Raises LeaseError."""
        with self._lock:
            before = self._valve.hold(holder, reason, ttl_s)
            if before is None:
                self._valve_moved("held", f"{holder} holds it for {ttl_s:g} s ({reason})")
                self._report()
            elif not before.is_short or (before.reason, before.ttl_s) != (reason, ttl_s):
                self._valve_moved("prolonged", f"{holder} holds it for {ttl_s:g} s from now on ({reason})")
            else:
                self._keep(self._valve.leases)

    def release(self, holder: str) -> bool:
        """Whether that holder had a lease."""
        with self._lock:
            if not self._valve.release(holder):
                return False
            self._valve_moved("released", f"{holder} released it")
            self._report()
            return True

    @property
    def leases(self) -> tuple[HeldLease, ...]:
        now_s = self._clock.monotonic_s()
        return tuple(
            HeldLease(holder=each.holder, reason=each.reason, ends_in_s=round(max(0.0, each.until_s - now_s), 1))
            for each in self._valve.leases
        )

    @property
    def held(self) -> Amount:
        """Of what the agent was told."""
        return self._held.now

    @property
    def valve_closed(self) -> bool:
        return self._valve.closed

    @property
    def slack(self) -> Slack:
        return self._slack

    def to_json(self, told: Amount | None) -> dict[str, Any]:
        """For ``GET /slack``; `told`: the total that the agent goes by, None while it has none of ours."""
        with self._lock:
            total = self._total
            return {
                "cpus": total.cpus,
                "mem_bytes": total.mem_bytes,
                "fresh": self._slack.fresh,
                "why": self._slack.why,
                "told": told,
                "held": self._held_in_all,
                "free": (told or Amount()).beyond(self._held.now),
                "overcommitment": self._overcommitment(),
                "valve": {"closed": self._valve.closed, "leases": self.leases},
            }

    # -- the lock is held in all of these --------------------------------------------------------

    @property
    def _total(self) -> Amount:
        return Amount.floor(self._slack.cpus, self._slack.mem_bytes)

    def _take_off(self, earlier: Amount) -> None:
        self._earlier = earlier
        if self._looked is not None:
            looked_at_s, held = self._looked
            ours = held.beyond(earlier)
            self._held.looked(looked_at_s, Amount.floor(ours.cpus, ours.mem_bytes))

    @property
    def _held_in_all(self) -> Amount:
        return self._held.now.and_also(self._earlier)

    def _report(self) -> None:
        closed, now_s = self._valve.closed, self._clock.monotonic_s()
        slack = self._slack.without(self._earlier.cpus, self._earlier.mem_bytes)
        capped = closed or not slack.fresh
        if not capped:
            if self._told is None and self._again:
                self._growth.held_back(self._held.now, now_s)
            slack = self._growth.let_through(slack, now_s)
        report = next_report(self._told, self._told_closed, slack, self._held.now, closed, self._parameters)
        if report is not None:
            self._tell(report)
            self._told = report.total
        if capped and self._told is not None:
            self._growth.held_back(self._told, now_s)
        self._told_closed = closed

    def _overcommitment(self) -> Overcommitment:
        """What best-effort certainly holds too much; without fresh data nobody can say, and nobody is accused."""
        if not self._slack.fresh:
            return Overcommitment()
        beyond = self._held_in_all.beyond(Amount.floor(self._slack.at_most_cpus, self._slack.at_most_mem_bytes))
        return Overcommitment(cpus=beyond.cpus, mem_bytes=beyond.mem_bytes)

    def _valve_moved(self, how: str, why: str) -> None:
        closed, leases = self._valve.closed, self._valve.leases
        logger.info("valve %s: %s", "closed" if closed else "open", why)
        self._keep(leases)
        self._metrics.set(metrics.LEASES, len(leases))
        self._metrics.add(metrics.LEASE_CHANGES, how=how)
        if closed != bool(self._metrics.value(metrics.VALVE_CLOSED)):
            self._metrics.set(metrics.VALVE_CLOSED, closed)
            self._metrics.add(metrics.VALVE_CHANGES, to="closed" if closed else "open")

    def _count(self, over: Overcommitment) -> None:
        for name, value in (
            (metrics.SLACK_CPUS, self._slack.cpus),
            (metrics.SLACK_MEM, self._slack.mem_bytes),
            (metrics.HELD_CPUS, self._held_in_all.cpus),
            (metrics.HELD_MEM, self._held_in_all.mem_bytes),
            (metrics.OVER_CPUS, over.cpus),
            (metrics.OVER_MEM, over.mem_bytes),
            (metrics.FRESH, self._slack.fresh),
        ):
            self._metrics.set(name, value)
