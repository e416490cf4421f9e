"""`serenity kill`: asks for the end of jobs."""

from __future__ import annotations

import click

from serenity.cli.client import Framework, job_path, json_option, url_option
from serenity.cli.failure import Failure
from serenity.cli.job_argument import complete_job
from serenity.cli.output import print_json, words
from serenity.daemon import exits
from serenity.wire.messages import api


@click.command("kill")
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...", shell_complete=complete_job)
@json_option
@url_option
def command(jobs: tuple[str, ...], as_json: bool, url: str | None) -> int:
    """Kill jobs.  Returns at once; `serenity wait` waits for their end."""
    framework = Framework(url)
    codes, killed = [], []
    for each in jobs:
        try:
            job = framework.post(job_path(each, "/kill"), {}, api.Job)
        except Failure as failure:
            # The other jobs are to be killed nevertheless.
            failure.show()
            codes.append(failure.exit_code)
            continue
        killed.append(job)
        if not as_json:
            had_ended = job.state.ended and job.kill_requested_at is None
            words(f"{job.name} ({job.id}) had {job.state} already" if had_ended else f"killing {job.name} ({job.id})")
    if as_json:
        print_json(killed)
    return exits.worst(codes)
