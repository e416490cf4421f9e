"""Statistics of jobs: executors report those on their agent each minute, the framework answers with the cluster's.

An executor sees only its own agent.  The framework combines the reports of all its executors (framework/cluster), and
answers each with statistics of the jobs in its report: how many cycles an instruction of the job takes on that CPU
type, with which detector ``cpi_outlier`` compares.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from serenity.wire.messages import framework_message
from serenity.wire.messages.framework_message import FrameworkMessage

# In one report: Mesos keeps messages in memory.  Services with an objective go first, then jobs that use most CPU.
MOST_JOBS = 200


class Cpi(msgspec.Struct, frozen=True, kw_only=True):
    """Cycles per instruction; a sample is one container in one minute.  `variance`: mean square deviation."""

    samples: float
    mean: float
    variance: float


class Slo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A service's indicator.  `met_s`: how long it met its objective, within the `measured_s` in which it was known."""

    indicator: str
    unit: str
    better: Literal["higher", "lower"]
    now: float  # Of the container where it is worst.
    measured_s: float
    objective: float | None = None
    met_s: float = 0.0


class JobStatistics(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All containers of a job on the agent, over the time that the message covers."""

    role: Literal["production", "best_effort"]
    framework: str  # The framework's id.
    job: str
    containers: int
    cpus: float  # Cores used, mean.
    cpi: Cpi | None = None  # None: not counted, or the job used too little CPU.
    slo: Slo | None = None


class Statistics(FrameworkMessage, frozen=True, kw_only=True, tag="statistics"):
    """Covers the `seconds` before `at`, which is in seconds since the epoch."""

    at: float
    seconds: float
    cpu_type: str
    jobs: tuple[JobStatistics, ...]


class KnownJobs(FrameworkMessage, frozen=True, kw_only=True, tag="known_jobs"):
    """From the framework: CPI of production jobs by name, over all agents with that CPU type."""

    cpu_type: str
    jobs: dict[str, Cpi]


_KNOWN_JOBS = msgspec.json.Decoder(KnownJobs)


def decode_known_jobs(data: str) -> KnownJobs:
    """Raises MessageError."""
    return framework_message.decode(data, _KNOWN_JOBS)
