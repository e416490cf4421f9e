"""What of the cluster's statistics outlives a restart: written every few minutes, not with each word of an executor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

LONGEST_KEY_BYTES = 2_500  # A row of a PostgreSQL index has room for 2,704, with its header and a number or two.


@dataclass(frozen=True, slots=True)
class JobCpi:
    """Cycles per instruction of a production job on a type of CPU; `at`: as of when `samples` are aged."""

    cpu_type: str
    job: str
    samples: float
    mean: float
    variance: float
    at: float

    @property
    def key(self) -> tuple[str, str]:
        return self.cpu_type, self.job

    @property
    def storable(self) -> bool:
        return _finite(self.samples, self.mean, self.variance) and storable(*self.key)


@dataclass(frozen=True, slots=True)
class SloPeriod:
    """How a service did from `start` on, for `services.BIN_S`."""

    framework: str
    service: str
    start: float
    indicator: str
    unit: str
    better: Literal["higher", "lower"]
    objective: float | None
    measured_s: float
    met_s: float
    corrections: int

    @property
    def key(self) -> tuple[str, str, float]:
        return self.framework, self.service, self.start

    @property
    def storable(self) -> bool:
        numbers = _finite(self.measured_s, self.met_s, self.objective or 0.0)
        return numbers and storable(self.framework, self.service, self.indicator, self.unit)


def storable(*texts: str) -> bool:
    """Whether they can be one row's key: names are whatever production frameworks say.  PostgreSQL takes no NUL."""
    return sum(len(each.encode()) for each in texts) <= LONGEST_KEY_BYTES and not any("\0" in each for each in texts)


def _finite(*numbers: float) -> bool:
    return all(map(math.isfinite, numbers))
