"""A sequence: jobs, and what happens while they run.  The same seed and number always draw the same one."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass

from tests.survival.tasks import Job, Way

# Within these it all happens; then there is quiet.
_SUBMITTED_BY_S, _FIRST_S, _LAST_S = 1.5, 0.3, 5.0
_SHORTEST_S, _LONGEST_S = 0.2, 2.5
_MORE_JOBS, _EVENTS = (1, 3), (3, 6)

LINES = ("scheduler", "provider", "executor")
DAEMONS = ("framework", "estimator")
# Calls under which a line is cut, before they arrive or before their answer does.
_CALLS = {
    "scheduler": ("ACCEPT", "ACKNOWLEDGE", "KILL", "RECONCILE", "SUBSCRIBE"),
    "provider": ("UPDATE_STATE", "SUBSCRIBE"),
    "executor": ("UPDATE", "SUBSCRIBE"),
}


class What(enum.Enum):
    KILL_EXECUTOR = "kill -9 executor"
    KILL_GUARDIAN = "kill -9 guardian"
    KILL_DAEMON = "kill -9, and start again:"
    KILL_AGENT = "kill -9 agent, and start it again"
    STOP = "SIGSTOP, and continue:"
    CUT = "cut line"
    CUT_AT = "cut line under the next"
    REFUSE = "503 to everything on line"
    DELAY = "hold back the events on line"
    DROP_STREAMS = "Mesos drops its streams with"
    HURT = "production suffers: throttled, frozen"


_WEIGHTS = {
    What.KILL_EXECUTOR: 3,
    What.KILL_GUARDIAN: 2,
    What.KILL_DAEMON: 5,
    What.KILL_AGENT: 3,
    What.STOP: 2,
    What.CUT: 2,
    What.CUT_AT: 3,
    What.REFUSE: 3,
    What.DELAY: 3,
    What.DROP_STREAMS: 1,
    What.HURT: 2,
}


@dataclass(frozen=True)
class Event:
    """`of`: the daemon or line.  `for_s`: until it is over, and what was killed is started again."""

    at_s: float
    what: What
    of: str = ""
    for_s: float = 0.0
    call: str = ""
    arrives: bool = False

    def __str__(self) -> str:
        words = [f"{self.at_s:.2f} s: {self.what.value}", self.of, self.call]
        if self.what is What.CUT_AT:
            words.append("after it has arrived" if self.arrives else "before it arrives")
        if self.for_s:
            words.append(f"for {self.for_s:.2f} s")
        return " ".join(filter(None, words))


@dataclass(frozen=True)
class Sequence:
    seed: int
    number: int
    jobs: tuple[Job, ...]
    events: tuple[Event, ...]

    def __str__(self) -> str:
        return "\n  ".join(
            [f"sequence {self.number} of seed {self.seed}", *map(str, self.jobs), *map(str, self.events)]
        )


def draw(seed: int, number: int) -> Sequence:
    dice = random.Random(f"{seed}/{number}")
    events = sorted((_event(dice) for _ in range(dice.randint(*_EVENTS))), key=lambda each: each.at_s)
    return Sequence(seed, number, tuple(_jobs(dice, f"s{seed}-{number}", events)), tuple(events))


def _jobs(dice: random.Random, name: str, events: list[Event]) -> list[Job]:
    """One of each kind that could be lost in its own way, and some more."""
    # Where nobody burns, nobody is suspected.
    suspect = any(each.what is What.HURT for each in events)
    ways = [Way.SHORT, Way.FAMILY, Way.STUBBORN, Way.BURNING if suspect else Way.LIVING]
    ways += dice.choices([Way.SHORT, Way.LIVING, Way.FAMILY], k=dice.randint(*_MORE_JOBS))
    return [_job(dice, f"{name}-{place}", way) for place, way in enumerate(ways)]


def _job(dice: random.Random, name: str, way: Way) -> Job:
    submitted_s = round(dice.uniform(0.0, _SUBMITTED_BY_S), 2)
    if way is Way.STUBBORN:
        return Job(name, submitted_s, way, killed_s=round(dice.uniform(_SUBMITTED_BY_S, _LAST_S), 2))
    if way is Way.SHORT:
        for_s, code = round(dice.uniform(0.1, 3.0), 2), dice.choice([0, 0, 3])
        return Job(name, submitted_s, way, for_s, code, instances=dice.randint(1, 2))
    return Job(name, submitted_s, way)


def _event(dice: random.Random) -> Event:
    what = dice.choices(list(_WEIGHTS), weights=list(_WEIGHTS.values()))[0]
    at_s, for_s = round(dice.uniform(_FIRST_S, _LAST_S), 2), round(dice.uniform(_SHORTEST_S, _LONGEST_S), 2)
    match what:
        case What.KILL_EXECUTOR | What.KILL_GUARDIAN:
            return Event(at_s, what)
        case What.KILL_DAEMON:
            return Event(at_s, what, dice.choice(DAEMONS), for_s)
        case What.STOP:
            return Event(at_s, what, dice.choice([*DAEMONS, "executor"]), for_s)
        case What.CUT:
            return Event(at_s, what, dice.choice(LINES))
        case What.DROP_STREAMS:
            # Not the schedulers': production's has no failover timeout, and would be removed.
            return Event(at_s, what, dice.choice(["provider", "executor"]))
        case What.CUT_AT:
            line = dice.choice(LINES)
            return Event(at_s, what, line, call=dice.choice(_CALLS[line]), arrives=dice.choice([True, False]))
        case What.REFUSE | What.DELAY:
            return Event(at_s, what, dice.choice(LINES), for_s)
        case _:
            return Event(at_s, what, for_s=for_s)
