"""Lines of those who wait: always the same as sorting all of them anew."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serenity.framework.jobs.job import Job
from serenity.framework.placement.lines import Ask, Lines
from serenity.wire.messages.api import JobRequest

JOBS = [
    Job(f"{i}", "j", JobRequest(command="true", cpus=1.0 + i % 2, priority=i % 3, user="ab"[i % 2]), submitted_at=0.0)
    for i in range(8)
]


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(JOBS), st.integers(0, 2)), max_size=60))
def test_who_stands_where(steps: list[tuple[bool, Job, int]]) -> None:
    lines = Lines()
    waiting: set[tuple[str, int]] = set()
    for comes, job, instance in steps:
        if comes:
            lines.add(job, instance)
            waiting.add((job.id, instance))
        else:
            lines.remove((job.id, instance))
            waiting.discard((job.id, instance))
    found = {}
    for line in lines:
        assert line.jobs == sorted(line.jobs) and line.jobs
        for job_id in line.jobs:
            job = JOBS[int(job_id)]
            assert (line.user, line.priority, line.ask) == (job.share_of, job.request.priority, Ask.of(job))
            found[job_id] = set(lines.instances(job_id))
    assert {(job_id, each) for job_id, instances in found.items() for each in instances} == waiting
    assert bool(lines) == bool(waiting)
