"""Which agents are avoided for which jobs, and until when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from serenity.wire.messages.reasons import Reason

_LONGEST_S = max(reason.avoid_s for reason in Reason)


@dataclass(frozen=True, slots=True)
class Cooldown:
    """`until`: seconds since the epoch."""

    job_id: str
    agent_id: str
    hostname: str
    until: float

    @property
    def key(self) -> tuple[str, str]:
        return self.job_id, self.agent_id


class Cooldowns:
    """The cool-downs that hold; one for each agent and job, the longest."""

    def __init__(self, cooldowns: Iterable[Cooldown] = ()) -> None:
        self._by_key = {each.key: each for each in cooldowns}
        self.agents: dict[str, set[str]] = {}  # Agent ids, by job id.
        for each in self._by_key.values():
            self.agents.setdefault(each.job_id, set()).add(each.agent_id)

    def __iter__(self) -> Iterator[Cooldown]:
        return iter(self._by_key.values())

    def add(self, cooldown: Cooldown) -> bool:
        """False when a longer one holds already."""
        known = self._by_key.get(cooldown.key)
        if known is not None and known.until >= cooldown.until:
            return False
        self._by_key[cooldown.key] = cooldown
        self.agents.setdefault(cooldown.job_id, set()).add(cooldown.agent_id)
        return True

    def expire(self, now_s: float) -> list[Cooldown]:
        """Removes and returns those that are over."""
        return self._remove([each for each in self if each.until <= now_s])

    def set_back(self, now_s: float) -> list[Cooldown]:
        """The clock was: none lasts for longer than any does when it begins; returns those that were shortened."""
        latest = now_s + _LONGEST_S
        shortened = [replace(each, until=latest) for each in self if each.until > latest]
        self._by_key.update((each.key, each) for each in shortened)
        return shortened

    def forget_job(self, job_id: str) -> list[Cooldown]:
        return self._remove(self.of_job(job_id))

    def of_job(self, job_id: str) -> list[Cooldown]:
        return [self._by_key[job_id, agent_id] for agent_id in self.agents.get(job_id, ())]

    def _remove(self, over: list[Cooldown]) -> list[Cooldown]:
        for each in over:
            del self._by_key[each.key]
            agents = self.agents[each.job_id]
            agents.discard(each.agent_id)
            if not agents:
                del self.agents[each.job_id]
        return over
