"""What jobs do on an agent, told by its executors each minute, and what the cluster knows of them, told to executors.

An executor sees its agent alone.  The framework puts together what all of its executors tell
(framework/cluster), and answers each with the statistics of the jobs that it has told of: how
many cycles an instruction of that job takes on that CPU type, which detector ``cpi_outlier``
compares with.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from serenity.wire.messages import framework_message
from serenity.wire.messages.framework_message import FrameworkMessage

# Told at once; Mesos carries messages in memory.  Production with an objective goes first, then who uses the most.
MOST_JOBS = 200


class Cpi(msgspec.Struct, frozen=True, kw_only=True):
    """Cycles per instruction; a sample is one container in one minute.  `variance`: mean square distance."""

    samples: float
    mean: float
    variance: float


class Slo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A service's indicator.  `met_s`: how long it kept its objective, of the `measured_s` in which it was known."""

    indicator: str
    unit: str
    better: Literal["higher", "lower"]
    now: float  # The worst of its containers.
    measured_s: float
    objective: float | None = None
    met_s: float = 0.0


class JobStatistics(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All containers of a job on the agent, over the time that the message is of."""

    role: Literal["production", "best_effort"]
    framework: str  # The framework's id.
    job: str
    containers: int
    cpus: float  # Cores used, mean.
    cpi: Cpi | None = None  # None: not counted, or too little CPU used for it.
    slo: Slo | None = None


class Statistics(FrameworkMessage, frozen=True, kw_only=True, tag="statistics"):
    """`at`: the end, seconds since the epoch; of the `seconds` before."""

    at: float
    seconds: float
    cpu_type: str
    jobs: tuple[JobStatistics, ...]


class KnownJobs(FrameworkMessage, frozen=True, kw_only=True, tag="known_jobs"):
    """From the framework: CPI of production jobs by name, of all agents with that CPU type."""

    cpu_type: str
    jobs: dict[str, Cpi]


_KNOWN_JOBS = msgspec.json.Decoder(KnownJobs)


def decode_known_jobs(data: str) -> KnownJobs:
    """Raises MessageError."""
    return framework_message.decode(data, _KNOWN_JOBS)
