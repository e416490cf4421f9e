"""Planned maintenance: which agents will be unavailable, and when their tasks have to be gone.

Mesos says it in every offer of such an agent, and by an inverse offer where we hold something.
Both are said again after each subscription, so none of it is stored.
http://mesos.apache.org/documentation/latest/maintenance/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from serenity.framework.jobs.job import Attempt, Ended, Event, Job
from serenity.wire.mesos.resources import Json
from serenity.wire.messages.api import AttemptState
from serenity.wire.messages.reasons import Reason

# So long before its maintenance an agent gets nothing new: that would have to go again soon.
_CLOSED_AHEAD_S = 900.0
# Its tasks are ended so long before the maintenance, each with its own grace.
_DRAINED_AHEAD_S = 120.0
# The tasks there are looked for no more often: among 100,000 that takes a while.
_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Outage:
    """Seconds since the epoch; `ends` is infinite where nobody says when."""

    begins: float
    ends: float

    @classmethod
    def from_json(cls, unavailability: Mapping[str, Json]) -> Outage:
        """Raises KeyError or TypeError for what is no Unavailability."""
        begins = unavailability["start"]["nanoseconds"] / 1e9
        duration = unavailability.get("duration")
        return cls(begins, begins + duration["nanoseconds"] / 1e9 if duration else float("inf"))

    def closed(self, now_s: float) -> bool:
        return self.begins - _CLOSED_AHEAD_S <= now_s < self.ends

    def drained(self, now_s: float) -> bool:
        return self.begins - _DRAINED_AHEAD_S <= now_s < self.ends


class Maintenance:
    def __init__(self) -> None:
        self._outages: dict[str, Outage] = {}  # By agent id.
        self._asked: dict[str, str] = {}  # Agents, by the id of the inverse offer.
        self._looked_s = 0.0

    def forget(self) -> None:
        """A new subscription: all of it will be said again."""
        self._outages.clear()
        self._asked.clear()

    def offered(self, agent_id: str, unavailability: Json | None) -> None:
        """An offer of the agent, and the unavailability in it, if any.  Raises as `Outage.from_json` does."""
        if unavailability:
            self._outages[agent_id] = Outage.from_json(unavailability)
        else:
            self._outages.pop(agent_id, None)

    def asked_back(self, inverse_offer: Json) -> str:
        """Returns the offer's id.  Raises KeyError, TypeError or AttributeError for what is no inverse offer."""
        offer_id = str(inverse_offer["id"]["value"])
        agent_id = inverse_offer.get("agent_id", {}).get("value")
        if agent_id is not None:  # Mesos' master always names one.
            self._outages[agent_id] = Outage.from_json(inverse_offer["unavailability"])
            self._asked[offer_id] = agent_id
        return offer_id

    def called_off(self, inverse_offer_id: str) -> None:
        agent_id = self._asked.pop(inverse_offer_id, None)
        if agent_id is not None:
            self._outages.pop(agent_id, None)

    def closed(self, agent_id: str, now_s: float) -> bool:
        """Whether nothing new is to be placed there."""
        outage = self._outages.get(agent_id)
        return outage is not None and outage.closed(now_s)

    def leaving(self, alive: Callable[[], Iterable[Attempt]], now_s: float) -> list[Attempt]:
        """Attempts whose task is to be ended now, since its agent will be unavailable."""
        drained = {agent_id for agent_id, outage in self._outages.items() if outage.drained(now_s)}
        if not drained or 0 <= now_s - self._looked_s < _LOOK_S:
            return []
        self._looked_s = now_s
        states = (AttemptState.LAUNCHING, AttemptState.RUNNING)
        return [each for each in alive() if each.state in states and each.place and each.place.agent_id in drained]


def told_why(event: Event, attempt: Attempt, job: Job) -> Event:
    """The end of a task, with the reason where we have ended it, and no user: executors take all kills for users'."""
    if not isinstance(event, Ended) or attempt.state is not AttemptState.KILLING or job.kill_requested:
        return event
    ending = event.ending
    if ending.state is not AttemptState.KILLED or ending.reason not in (None, Reason.KILLED_BY_USER):
        return event
    record = ending.record
    if record is not None:
        record = msgspec.structs.replace(record, reason=Reason.AGENT_DRAINING.code)
    # The agent is closed for as long as the maintenance is near, and not longer.
    return Ended(msgspec.structs.replace(ending, reason=Reason.AGENT_DRAINING, record=record, avoid_s=0.0))
