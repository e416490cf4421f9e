"""Which best-effort jobs have hurt which production jobs, so that they are kept apart.

An antagonist is confirmed when production recovered after it was evicted: then it was the
cause, and would be again wherever the two meet.  Jobs go by name, best-effort ones by user and
name: what is submitted every night under one name is one job.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from serenity.wire.messages.statistics import Statistics

# Programs change with their releases, some weekly.
REMEMBERED_S = 7 * 86_400.0
# Executors tell once a minute who is there.
_THERE_S = 600.0
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Antagonist:
    """`at`: when it was confirmed last, seconds since the epoch; `times`: how often since it was first."""

    user: str
    job: str
    protected: str  # The production job.
    cause: str
    at: float
    times: int = 1

    @property
    def key(self) -> tuple[str, str, str]:
        return self.user, self.job, self.protected


class Antagonists:
    """The remembered ones, by user, job and protected job; the one that was confirmed last stands last."""

    def __init__(self, known: Iterable[Antagonist] = ()) -> None:
        self._known = {each.key: each for each in sorted(known, key=lambda each: each.at)}
        self._hurt: dict[tuple[str, str], set[str]] = {}
        for each in self._known.values():
            self._hurt.setdefault((each.user, each.job), set()).add(each.protected)

    def __iter__(self) -> Iterator[Antagonist]:
        return iter(self._known.values())

    def __bool__(self) -> bool:
        return bool(self._known)

    def confirm(self, user: str, job: str, protected: str, cause: str, now_s: float) -> Antagonist:
        known = self._known.pop((user, job, protected), None)
        confirmed = Antagonist(user, job, protected, cause, now_s, known.times + 1 if known is not None else 1)
        self._known[confirmed.key] = confirmed
        self._hurt.setdefault((user, job), set()).add(protected)
        return confirmed

    def hurt_by(self, user: str, job: str) -> Mapping[str, Antagonist]:
        """What is known of the job as an antagonist, by the production job that it has hurt."""
        return {name: self._known[user, job, name] for name in self._hurt.get((user, job), ())}

    def expire(self, now_s: float) -> list[Antagonist]:
        """Removes and returns those whose time is over, and those that are too many."""
        over = []
        while self._known:
            oldest = next(iter(self._known.values()))
            if now_s - oldest.at < REMEMBERED_S and len(self._known) <= _MOST:
                break
            over.append(oldest)
            del self._known[oldest.key]
            hurt = self._hurt[oldest.user, oldest.job]
            hurt.discard(oldest.protected)
            if not hurt:
                del self._hurt[oldest.user, oldest.job]
        return over


class Residents:
    """Which production jobs live on which agent, by what its executors have told lately.

    Of an agent on which no executor of ours runs nothing is known, and nothing is kept off it:
    the executor that goes there will tell.
    """

    def __init__(self) -> None:
        self._told: dict[str, tuple[float, frozenset[str]]] = {}

    def learn(self, agent_id: str, said: Statistics, now_s: float) -> None:
        self._told[agent_id] = now_s, frozenset(each.job for each in said.jobs if each.role == "production")

    def saw(self, agent_id: str, job: str, now_s: float) -> None:
        """That production job lives there; which others do stays as it was told last."""
        told_at, jobs = self._told.get(agent_id, (now_s, frozenset()))
        self._told[agent_id] = now_s, jobs | {job} if now_s - told_at < _THERE_S else frozenset({job})

    def forget(self, agent_id: str) -> None:
        """The agent is gone."""
        self._told.pop(agent_id, None)

    def agents_with(self, jobs: Mapping[str, object], now_s: float) -> Mapping[str, str]:
        """For each agent on which any of `jobs` lives, one of them."""
        self._told = {agent: told for agent, told in self._told.items() if now_s - told[0] < _THERE_S}
        found = {agent: next((job for job in jobs if job in told[1]), None) for agent, told in self._told.items()}
        return {agent: job for agent, job in found.items() if job is not None}
