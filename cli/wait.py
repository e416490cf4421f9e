"""`serenity wait`: waits until jobs have ended, also while the framework restarts."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from serenity.cli import amounts
from serenity.cli.client import Framework, job_path, json_option, url_option
from serenity.cli.failure import Failure
from serenity.cli.job_argument import complete_job
from serenity.cli.output import print_json, words
from serenity.daemon import exits
from serenity.wire.mesos.quantities import format_duration
from serenity.wire.messages import api

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 1.0


@click.command("wait")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...", shell_complete=complete_job)
@click.option("--timeout", metavar="TIME", callback=amounts.duration, help="Give up after this long, with exit code 7.")
@json_option
@url_option
def command(jobs: tuple[str, ...], timeout: float | None, as_json: bool, url: str | None) -> int:
    """Wait until jobs have ended.  The exit code is 6 when one of them has not finished well."""
    return wait_for(Framework(url), jobs, timeout, as_json)


def wait_for(framework: Framework, jobs: Sequence[str], timeout_s: float | None, as_json: bool) -> int:
    """Prints how each job ended; returns the worst exit code."""
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    # Names are resolved once: a second job of that name, submitted meanwhile, changes nothing.
    waiting = [framework.get(job_path(job), api.JobDetail).job for job in jobs]
    codes, ended, pause_s = [], [], _FIRST_PAUSE_S
    while True:
        for job in [each for each in waiting if each.state.ended]:
            waiting.remove(job)
            ended.append(job)
            codes.append(exits.OK if job.state is api.JobState.FINISHED else exits.JOB_FAILED)
            if not as_json:
                words(_ended_line(job))
        if not waiting:
            break
        if deadline_s is not None and time.monotonic() >= deadline_s:
            words(f"still not ended: {', '.join(f'{job.name} ({job.id}) is {job.state}' for job in waiting)}")
            codes.append(exits.TIMED_OUT)
            break
        left_s = pause_s if deadline_s is None else min(pause_s, max(0.0, deadline_s - time.monotonic()))
        time.sleep(left_s)
        pause_s = min(_LONGEST_PAUSE_S, pause_s * 1.5)
        waiting = [_look(framework, job, deadline_s) for job in waiting]
    if as_json:
        print_json([*ended, *waiting])
    return exits.worst(codes)


def _look(framework: Framework, job: api.Job, deadline_s: float | None) -> api.Job:
    """The job as it is now; while the framework is away, as it was."""
    told = False
    while True:
        try:
            return framework.get(job_path(job.id), api.JobDetail).job
        except Failure as failure:
            if failure.exit_code != exits.UNREACHABLE:
                raise
            if not told:
                words(f"{failure.message}; trying again")
                told = True
            if deadline_s is not None and time.monotonic() >= deadline_s:
                return job
            time.sleep(_LONGEST_PAUSE_S)


def _ended_line(job: api.Job) -> str:
    took = f" after {format_duration(job.ended_at - job.submitted_at)}" if job.ended_at is not None else ""
    bad = {state: count for state, count in job.counts.items() if state != "finished"}
    details = f" ({', '.join(f'{count} {state}' for state, count in job.counts.items())})" if bad else ""
    return f"{job.name} ({job.id}) {job.state}{took}{details}"
