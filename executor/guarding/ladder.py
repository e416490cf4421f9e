"""The ladder: how far a best-effort task can be taken down, and the state of a task on it.  Pure.

    half ──► deep ──► frozen        one step each time that `watch_s` has passed in vain
                                    evicted: see `guard`

Freezing proves something: a frozen task uses nothing but memory, so a contention that goes on
is not its doing alone, and evicting it would not help.  So a task is evicted when it was shown
to hurt (contention came back as it was released), when it cannot be stopped, or for memory,
which no throttle frees.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from serenity.qos.contention import CAUSES, Finding
from serenity.wire.messages.kill_record import Step


class Rung(enum.IntEnum):
    NOTHING = 0
    HALF = 1
    DEEP = 2
    FROZEN = 3
    EVICTED = 4


# Of a task's use before the first throttle.  A half first: the usual culprit is one task, and half of it back is
# enough for most.  Then an eighth: a quarter would cost another `watch_s` of production's time, and what is given
# back in small steps finds the right level from below anyway; yet with an eighth a task still answers signals and
# keeps its connections alive.
_SHARE_LEFT = {Rung.HALF: 1 / 2, Rung.DEEP: 1 / 8}
# The kernel takes no quota below 1 ms in its usual period of 100 ms.
LEAST_CORES = 0.01

# What the setting `policy` may say for a cause, and the highest rung that it means.
HIGHEST: Mapping[str, Rung] = {
    "nothing": Rung.NOTHING,
    "throttle": Rung.DEEP,
    "freeze": Rung.FROZEN,
    "evict": Rung.EVICTED,
}


def check_policy(policy: Mapping[str, str]) -> None:
    """Raises ValueError, which says what may be written."""
    for cause, word in policy.items():
        if cause not in CAUSES:
            raise ValueError(f"policy: there is no cause {cause!r}; there are {', '.join(CAUSES)}")
        if word not in HIGHEST:
            raise ValueError(f"policy: {cause} = {word!r}; write one of {', '.join(HIGHEST)}")


def highest_rung(policy: Mapping[str, str], cause: str) -> Rung:
    """For a cause not named, the last.  Memory cannot be throttled: a task not to be evicted for it is left alone."""
    rung = HIGHEST[policy.get(cause, "evict")]
    return Rung.NOTHING if cause == "memory" and rung < Rung.EVICTED else rung


def cores_at(rung: Rung, use_cores: float) -> float:
    """What is left of `use_cores` to a task on that rung."""
    return 0.0 if rung is Rung.FROZEN else max(LEAST_CORES, use_cores * _SHARE_LEFT[rung])


@dataclass
class Held:
    """A task that we hold down.  Times named `_s` are monotonic, `at` is since the epoch."""

    finding: Finding
    rung: Rung  # What it was taken down to.
    cores: float  # What it may use now: more than its rung says while it is given back.
    use_cores: float  # What it used before.
    since_s: float  # Of the last step down.
    steps: list[Step] = field(default_factory=list)  # The last one's outcome is known later.
    loosened: bool = False  # It is being given back.
    thawed: bool = False  # It was frozen, and since then has had no more than what a thawed task begins with.
    relapses: int = 0  # How often the contention came back with its release.

    @property
    def frozen(self) -> bool:
        return self.rung is Rung.FROZEN

    def take_down(self, rung: Rung, now_s: float, at: float, again: bool = False) -> None:
        self.rung, self.cores, self.since_s = rung, cores_at(rung, self.use_cores), now_s
        self.loosened = self.thawed = False
        action = "freeze" if rung is Rung.FROZEN else f"throttle to {self.cores:.2f} cores"
        self._begin(f"{action} again" if again else action, at)

    def loosen(self, cores: float, at: float) -> None:
        """Gives back up to `cores`; a frozen task is thawed."""
        if not self.loosened:
            self._begin(f"thaw to {cores:.2f} cores" if self.frozen else "give back", at)
        self.thawed, self.loosened = self.frozen, True
        if self.frozen:
            self.rung = Rung.DEEP
        self.cores = cores

    def conclude(self, outcome: str) -> Step:
        """Writes down what the last step has led to."""
        self.steps[-1] = msgspec.structs.replace(self.steps[-1], outcome=outcome)
        return self.steps[-1]

    def _begin(self, action: str, at: float) -> None:
        self.steps.append(Step(action=action, at=at, outcome=""))
