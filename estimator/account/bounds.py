"""How much of one agent's slack an operator keeps back, and the most of it that is given."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from serenity.estimator.slack.formula import Slack
from serenity.wire.mesos.quantities import parse_mem_bytes


@dataclass(frozen=True, slots=True)
class Room:
    """Cores and bytes of memory, as written ``cpus=1.5,mem=2G``; either may be left out."""

    cpus: float
    mem_bytes: float

    @classmethod
    def parse(cls, text: str, left_out: float) -> Room:
        """`left_out`: the value of a resource that `text` does not name.  Raises ValueError, in words."""
        cpus = mem_bytes = left_out
        for part in filter(None, map(str.strip, text.split(","))):
            name, _, amount = part.partition("=")
            if name == "cpus":
                cpus = _cpus(amount)
            elif name == "mem":
                mem_bytes = parse_mem_bytes(amount)
            else:
                raise ValueError(f"{part!r} is neither cpus nor mem; write such as cpus=1.5,mem=2G")
        return cls(cpus, mem_bytes)


@dataclass(frozen=True, slots=True)
class Bounds:
    """`reserve` is kept for production, whatever is predicted; of the remaining slack at most `ceiling` is given."""

    reserve: Room
    ceiling: Room

    def apply(self, slack: Slack) -> Slack:
        cpus, mem_bytes = self._within(slack.cpus, slack.mem_bytes)
        at_most_cpus, at_most_mem_bytes = self._within(slack.at_most_cpus, slack.at_most_mem_bytes)
        why = [
            f"{name} is bounded by this agent's {bound}"
            for name, found, reserve, ceiling in (
                ("cpus", slack.cpus, self.reserve.cpus, self.ceiling.cpus),
                ("mem", slack.mem_bytes, self.reserve.mem_bytes, self.ceiling.mem_bytes),
            )
            for bound, binds in (("reserve", reserve > 0 and found > 0), ("ceiling", found - reserve > ceiling))
            if binds
        ]
        return replace(
            slack,
            cpus=cpus,
            mem_bytes=mem_bytes,
            why=(*slack.why, *why),
            at_most_cpus=at_most_cpus,
            at_most_mem_bytes=at_most_mem_bytes,
        )

    def _within(self, cpus: float, mem_bytes: float) -> tuple[float, float]:
        return (
            min(max(0.0, cpus - self.reserve.cpus), self.ceiling.cpus),
            min(max(0.0, mem_bytes - self.reserve.mem_bytes), self.ceiling.mem_bytes),
        )


def _cpus(text: str) -> float:
    try:
        cpus = float(text)
    except ValueError:
        cpus = math.nan
    if not 0 <= cpus < math.inf:
        raise ValueError(f"cpus={text!r} is no number of cpus; write such as cpus=1.5,mem=2G")
    return cpus
