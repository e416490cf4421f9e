"""What the agent is told: the slack, less when the valve is closed, and not for every trifle."""

from __future__ import annotations

import math
from dataclasses import dataclass

from serenity.estimator.slack import Slack
from serenity.qos.stages import NOT_NEGATIVE, Parameters, parameter

_MIB = 1 << 20


@dataclass(frozen=True)
class ReportParameters(Parameters):
    """When a slack that has changed is told the agent: less at once, more by and by: `[slack.report]`."""

    rise_s: float = parameter(5.0, "s", "how long a rise must have lasted before it is told", NOT_NEGATIVE)
    grow_s: float = parameter(
        5.0, "s", "over which a rise from nothing to all of the slack is told, part by part", NOT_NEGATIVE
    )
    dead_band_cpus: float = parameter(
        0.1, "cores", "a smaller change is not told: each rescinds the open offers", NOT_NEGATIVE
    )
    dead_band_mem_mb: float = parameter(
        64.0, "MiB", "a smaller change is not told: each rescinds the open offers", NOT_NEGATIVE
    )


@dataclass(frozen=True, slots=True)
class Amount:
    """Cores and bytes of memory."""

    cpus: float = 0.0
    mem_bytes: int = 0

    @classmethod
    def floor(cls, cpus: float, mem_bytes: float) -> Amount:
        """In whole hundredths and whole MiB: finer says nothing, and Mesos rounds at 0.001."""
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
    """A total for the agent.  Under a new version it rescinds the open offers even if it is the same."""

    total: Amount
    new_version: bool = False


def next_report(
    told: Amount | None, told_closed: bool, slack: Slack, held: Amount, closed: bool, parameters: ReportParameters
) -> Report | None:
    """What the agent must be told now; None: what it knows is good enough.

    `told` is what it was told last (None: nothing), with the valve as `told_closed` says.  With
    the valve closed, or when the slack is not fresh, nothing beyond what is held is given.
    """
    total = Amount.floor(slack.cpus, slack.mem_bytes)
    if not (total.cpus and total.mem_bytes):
        # Nobody can launch on one without the other, and an open offer of the one would not grow when the other comes.
        total = Amount()
    capped = closed or not slack.fresh
    if capped:
        total = total.at_most(held)
    if told is None:
        return Report(total)
    if closed and not told_closed:
        return Report(total, new_version=True)
    if capped:
        # Every bit counts: the difference would be offered.
        return Report(total) if total != told else None
    moved = (
        abs(total.cpus - told.cpus) >= max(parameters.dead_band_cpus, 0.01)
        or abs(total.mem_bytes - told.mem_bytes) >= max(parameters.dead_band_mem_mb, 1.0) * _MIB
    )
    return Report(total) if moved else None
