"""The jobs that wait for slack, in lines: all that placement minds about a pending job, kept ready between rounds.

Jobs of one user with one priority that ask for the same stand in one line, the oldest first.  A hundred
thousand jobs are a handful of lines: when the first of one fits nowhere, neither do the others.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from serenity.framework.jobs.job import Job, Key
from serenity.wire.messages.constraints import Constraint

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Ask:
    """What an instance asks of an agent.  Thousandths, of a CPU and of a MiB, as Mesos counts."""

    cpus: int
    mem: int
    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def of(cls, job: Job) -> Ask:
        request = job.request
        return cls(round(request.cpus * 1000), round(request.mem_bytes / _MIB * 1000), request.constraints)


@dataclass(frozen=True, slots=True)
class Line:
    """`jobs`: ids, in the order of submission."""

    user: str
    priority: int
    ask: Ask
    jobs: list[str] = field(default_factory=list, compare=False)


class Lines:
    """The pending instances that may run now."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, int, Ask], Line] = {}
        self._line_of: dict[str, Line] = {}  # By job id.
        self._instances: dict[str, dict[int, None]] = {}  # By job id; in the order in which they came.

    def __iter__(self) -> Iterator[Line]:
        """No line is empty."""
        return iter(self._lines.values())

    def __bool__(self) -> bool:
        return bool(self._lines)

    def instances(self, job_id: str) -> Collection[int]:
        """The job's instances that wait; empty when none does."""
        return self._instances.get(job_id, {})

    def add(self, job: Job, instance: int) -> None:
        """The instance may be there already."""
        if job.id not in self._instances:
            key = (job.share_of, job.request.priority, Ask.of(job))
            line = self._lines.get(key)
            if line is None:
                line = self._lines[key] = Line(*key)
            insort(line.jobs, job.id)
            self._line_of[job.id], self._instances[job.id] = line, {}
        self._instances[job.id][instance] = None

    def remove(self, key: Key) -> None:
        """The instance need not be there."""
        job_id, instance = key
        waiting = self._instances.get(job_id)
        if waiting is None or instance not in waiting:
            return
        del waiting[instance]
        if not waiting:
            del self._instances[job_id]
            line = self._line_of.pop(job_id)
            del line.jobs[bisect_left(line.jobs, job_id)]
            if not line.jobs:
                del self._lines[line.user, line.priority, line.ask]
