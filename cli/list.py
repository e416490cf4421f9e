"""`serenity list`: one line a job, in 80 columns."""

from __future__ import annotations

import click

from serenity.cli.client import Framework, json_option, url_option
from serenity.cli.output import ago, print_json, shorten, table, words
from serenity.daemon import exits
from serenity.wire.mesos.quantities import format_mem
from serenity.wire.messages import api

_NAME_COLUMNS = 20
_NONE = {"all": "no jobs", "ended": "no job has ended", "active": "no jobs; --all shows those that have ended"}


@click.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that have ended.")
@click.option("--ended", is_flag=True, help="Only those that have ended.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="The newest so many.")
@json_option
@url_option
def command(everything: bool, ended: bool, limit: int, as_json: bool, url: str | None) -> int:
    """List jobs that have not ended, the newest first."""
    state = "ended" if ended else "all" if everything else "active"
    jobs = Framework(url).get("/v1/jobs", api.Jobs, state=state, limit=limit)
    if as_json:
        print_json(jobs.jobs)
        return exits.OK
    if not jobs.jobs:
        words(_NONE[state])
        return exits.OK
    head = ("ID", "NAME", "STATE", "DONE", "RUN", "CPUS", "MEM", "AGE", "KILLS")
    click.echo(table(head, [_row(job) for job in jobs.jobs], right=frozenset(head[3:])))
    if jobs.more:
        words(f"the newest {limit}; --limit shows more")
    return exits.OK


def _row(job: api.Job) -> tuple[str, ...]:
    counts, request = job.counts, job.request
    return (
        job.id,
        shorten(job.name, _NAME_COLUMNS),
        job.state.value,
        f"{counts.get('finished', 0)}/{request.instances}",
        str(counts.get("running", 0)),
        f"{request.cpus:g}",
        format_mem(request.mem_bytes),
        ago(job.submitted_at),
        str(job.kills) if job.kills else "-",
    )
