"""Which total the agent is told: the slack, or less while the valve is closed; trifling changes are not told."""

from __future__ import annotations

import math
from dataclasses import dataclass

from serenity.estimator.slack.formula import Slack
from serenity.estimator.slack.pipeline import ReportParameters

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Amount:
    """Cores and bytes of memory."""

    cpus: float = 0.0
    mem_bytes: int = 0

    @classmethod
    def floor(cls, cpus: float, mem_bytes: float) -> Amount:
        """In whole hundredths of a core and whole MiB: finer means nothing, and Mesos rounds to 0.001."""
        return cls(math.floor(cpus * 100 + 1e-6) / 100, math.floor(mem_bytes / _MIB) * _MIB)

    def at_most(self, other: Amount) -> Amount:
        return Amount(min(self.cpus, other.cpus), min(self.mem_bytes, other.mem_bytes))

    def at_least(self, other: Amount) -> Amount:
        return Amount(max(self.cpus, other.cpus), max(self.mem_bytes, other.mem_bytes))

    def and_also(self, other: Amount) -> Amount:
        return Amount(self.cpus + other.cpus, self.mem_bytes + other.mem_bytes)

    def beyond(self, other: Amount) -> Amount:
        """By how much this exceeds the other, resource by resource; never negative."""
        return Amount(max(0.0, self.cpus - other.cpus), max(0, self.mem_bytes - other.mem_bytes))


@dataclass(frozen=True, slots=True)
class Report:
    """A total for the agent.  With a new version the agent rescinds its open offers even if the total is unchanged."""

    total: Amount
    new_version: bool = False


def next_report(
    told: Amount | None, told_closed: bool, slack: Slack, held: Amount, closed: bool, parameters: ReportParameters
) -> Report | None:
    """What the agent must be told now; None if the total that it knows is good enough.

    `told` is the total that it was told last (None: none yet), and `told_closed` whether the valve was closed then.
    With the valve closed, or when the slack is not fresh, nothing beyond what is held is given.
    """
    total = Amount.floor(slack.cpus, slack.mem_bytes)
    if not (total.cpus and total.mem_bytes):
        # No task can launch on cpus or memory alone, and an open offer of the one would not grow when the other comes.
        total = Amount()
    capped = closed or not slack.fresh
    if capped:
        total = total.at_most(held)
    if told is None:
        return Report(total)
    if closed and not told_closed:
        return Report(total, new_version=True)
    if capped:
        # No dead band here: the agent would offer even a small excess.
        return Report(total) if total != told else None
    moved = (
        abs(total.cpus - told.cpus) >= max(parameters.dead_band_cpus, 0.01)
        or abs(total.mem_bytes - told.mem_bytes) >= max(parameters.dead_band_mem_mb, 1.0) * _MIB
    )
    return Report(total) if moved else None
