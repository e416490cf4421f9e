"""Slow up: how fast the slack that the agent is told may grow."""

from __future__ import annotations

from dataclasses import replace

from serenity.estimator.report import Amount
from serenity.estimator.slack import Slack


class Growth:
    """Lets slack grow by ``slack / grow_s`` a second, and fall at once.

    From nothing, all of it takes `grow_s`: work that has waited for slack, or for the valve,
    comes in parts, and whoever watches production sees what each part does before the next
    comes.  As a share of the slack itself, the rate fits a node of any size.
    """

    def __init__(self, grow_s: float) -> None:
        self._grow_s = grow_s
        self._level: Slack | None = None  # Let through last.
        self._at_s = 0.0  # Monotonic.

    def let_through(self, slack: Slack, now_s: float) -> Slack:
        """What of it may be told now; the first one whole, unless something was held back before."""
        level, share = self._level, 1.0 if self._grow_s == 0 else (now_s - self._at_s) / self._grow_s
        if level is not None:
            cpus = min(slack.cpus, level.cpus + share * slack.cpus)
            slack = replace(slack, cpus=cpus, mem_bytes=min(slack.mem_bytes, level.mem_bytes + share * slack.mem_bytes))
        self._level, self._at_s = slack, now_s
        return slack

    def held_back(self, told: Amount, now_s: float) -> None:
        """No more than that was told, whatever slack there is; from there it grows."""
        self._level, self._at_s = Slack(told.cpus, told.mem_bytes), now_s
