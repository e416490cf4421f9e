"""How fast the slack that the agent is told may grow."""

from __future__ import annotations

from dataclasses import replace

from serenity.estimator.account.report import Amount
from serenity.estimator.slack.formula import Slack


class Growth:
    """Lets slack grow by ``slack / grow_s`` a second, and fall at once.

    From nothing to all of the slack takes `grow_s`: work that has waited for slack, or for the valve, comes in parts,
    so that the effect of each part on production shows before the next one comes.  The rate is a share of the slack
    itself, and so fits a node of any size.
    """

    def __init__(self, grow_s: float) -> None:
        self._grow_s = grow_s
        self._level: Slack | None = None  # What was let through last.
        self._at_s = 0.0  # Monotonic.

    def let_through(self, slack: Slack, now_s: float) -> Slack:
        """The part of `slack` that may be told now; all of it the first time, unless `held_back` was called before."""
        level, share = self._level, 1.0 if self._grow_s == 0 else (now_s - self._at_s) / self._grow_s
        if level is not None:
            cpus = min(slack.cpus, level.cpus + share * slack.cpus)
            slack = replace(slack, cpus=cpus, mem_bytes=min(slack.mem_bytes, level.mem_bytes + share * slack.mem_bytes))
        self._level, self._at_s = slack, now_s
        return slack

    def held_back(self, told: Amount, now_s: float) -> None:
        """Only `told` was told, whatever slack there is: growth goes on from there."""
        self._level, self._at_s = Slack(told.cpus, told.mem_bytes), now_s
