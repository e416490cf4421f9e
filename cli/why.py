"""`serenity why`: why a job is not running."""

from __future__ import annotations

import click

from serenity.cli.client import Framework, job_path, json_option, url_option
from serenity.cli.job_argument import complete_job
from serenity.cli.output import print_json, printable, state_text
from serenity.daemon import exits
from serenity.wire.messages import api


@click.command("why")
@click.argument("job", shell_complete=complete_job)
@json_option
@url_option
def command(job: str, as_json: bool, url: str | None) -> int:
    """Say why a job is not running."""
    answer = Framework(url).get(job_path(job, "/why"), api.Why)
    if as_json:
        print_json(answer)
        return exits.OK
    click.echo(f"{answer.job.name} ({answer.job.id}) is {state_text(answer.job.state)}")
    for line in answer.lines:
        click.echo(f"  {printable(line)}")
    return exits.OK
