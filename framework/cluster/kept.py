"""What of the cluster's statistics outlives a restart: written every few minutes, not with each word of an executor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

_LONGEST_NAME = 500  # PostgreSQL's indexes have room for some 2,700 bytes.


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
        return _finite(self.samples, self.mean, self.variance) and _storable(*self.key)


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
        return numbers and _storable(self.framework, self.service, self.indicator, self.unit)


def _finite(*numbers: float) -> bool:
    return all(map(math.isfinite, numbers))


def _storable(*texts: str) -> bool:
    """Names are whatever production frameworks say; PostgreSQL takes no NUL."""
    return all(len(each) <= _LONGEST_NAME and "\0" not in each for each in texts)
