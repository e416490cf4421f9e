"""Something to store."""

from __future__ import annotations

from serenity.framework.cluster.kept import JobCpi, SloPeriod
from serenity.framework.jobs.book import Book
from serenity.framework.jobs.job import Ended, Ending, Job, Launch, Place, first_attempt, step
from serenity.framework.placement.agents import Executor
from serenity.framework.placement.cooldowns import Cooldown
from serenity.framework.store.changes import Changes
from serenity.framework.store.store import Store
from serenity.wire.messages.api import AttemptState, JobRequest
from serenity.wire.messages.kill_record import Agent, Killed, KillRecord, TaskResources
from serenity.wire.messages.reasons import Reason
from serenity.wire.messages.task_end import TaskEnd

RECORD = KillRecord(
    id="k1",
    decided_at=1.0,
    agent=Agent(id="S0", hostname="h7"),
    killed=Killed(task="j.0.1", job="j", attempt=1, ran_for_s=1.0, resources=TaskResources(cpus=1.0, mem_bytes=1)),
    reason="QOS_MEMORY",
)
CPI = (JobCpi("a CPU", "web", 31.5, 1.25, 0.01, at=100.0), JobCpi("another", "wéb", 1e-9, 1.0, 0.0, at=4000.0))
PERIODS = tuple(
    SloPeriod("F2", "web", start, "p99", "ms", "lower", objective, measured_s=300.0, met_s=250.5, corrections=2)
    for start, objective in ((300.0, 20.0), (3900.0, None))
)


def filled_changes(store: Store) -> Changes:
    """A job of two instances: one evicted and pending again, one launching."""
    job = Job("2q00001", "web", JobRequest(command=("sh", "-c", "true"), instances=2, env={"A": "ä"}), submitted_at=1.0)
    book = Book(store.load())
    book.add(job, [first_attempt(job, 0), first_attempt(job, 1)])
    for instance in (0, 1):
        place = Place("S0", "h7", "http://h7:5051", "serenity-1")
        book.put(step(job, book.current((job.id, instance)), Launch(place), 2.0).attempt, 2.0)
    used = TaskEnd(signal=9, cpu_s=1.5, peak_mem_bytes=1 << 20)
    ending = Ending(AttemptState.KILLED, Reason.QOS_MEMORY, "because", RECORD, avoid_s=300.0, measured=used)
    done = step(job, book.current((job.id, 0)), Ended(ending), 3.0)
    book.put(done.attempt, 3.0, done.successor)
    changes = book.take_changes()
    changes.framework_id = "F1"
    changes.executors["S0", "serenity-1"] = Executor("S0", "serenity-1", "d", {"resources": []})
    changes.cooldowns[job.id, "S0"] = Cooldown(job.id, "S0", "h7", 99.0)
    for each in CPI:
        changes.job_cpi[each.key] = each
    for period in PERIODS:
        changes.slo_periods[period.key] = period
    return changes
