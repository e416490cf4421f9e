"""Agents on which an operator wants nothing new placed, and until when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from serenity.wire.mesos.quantities import format_duration


@dataclass(frozen=True, slots=True)
class Hold:
    """`since` and `until`: seconds since the epoch."""

    agent_id: str
    hostname: str
    reason: str
    since: float
    until: float

    def sentence(self, now_s: float) -> str:
        for_s, why = format_duration(self.until - now_s), f" ({self.reason})" if self.reason else ""
        return f"{self.hostname} gets nothing new for another {for_s}, on an operator's word{why}"


class Holds:
    """The holds in force; one for each agent, the last that was asked for."""

    def __init__(self, holds: Iterable[Hold] = ()) -> None:
        self._by_agent = {each.agent_id: each for each in holds}

    def __iter__(self) -> Iterator[Hold]:
        return iter(self._by_agent.values())

    def __contains__(self, agent_id: str) -> bool:
        return agent_id in self._by_agent

    def put(self, hold: Hold) -> None:
        self._by_agent[hold.agent_id] = hold

    def release(self, agent_id: str, now_s: float) -> bool:
        """The agent's hold is over from now on, and goes with the next `expire`; False where there is none."""
        known = self._by_agent.get(agent_id)
        if known is None:
            return False
        self._by_agent[agent_id] = replace(known, until=now_s)
        return True

    def set_back(self, now_s: float) -> list[Hold]:
        """The clock was: a hold since a time that is yet to come begins now; returns those."""
        moved = [
            replace(each, since=now_s, until=now_s + each.until - each.since) for each in self if each.since > now_s
        ]
        self._by_agent.update((each.agent_id, each) for each in moved)
        return moved

    def expire(self, now_s: float) -> list[Hold]:
        """Removes and returns those that are over."""
        over = [each for each in self if each.until <= now_s]
        for each in over:
            del self._by_agent[each.agent_id]
        return over
