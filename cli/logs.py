"""`serenity logs`: what a task has written, through the framework, from its agent."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import click

from serenity.cli.client import Framework, job_path, json_option, url_option
from serenity.cli.failure import Failure
from serenity.cli.job_argument import complete_job
from serenity.cli.output import print_json
from serenity.daemon import exits
from serenity.wire.messages import api
from serenity.wire.messages.task_id import parse_task_id

_FOLLOW_PAUSE_S = 0.5


@click.command("logs")
@click.argument("job", metavar="JOB[/INSTANCE]", shell_complete=complete_job)
@click.option("--attempt", type=click.IntRange(1), help="Which attempt.  [default: the last]")
@click.option("--stderr", is_flag=True, help="What it wrote to stderr instead of stdout.")
@click.option("-n", "lines", type=click.IntRange(0, 10_000), default=100, show_default=True, help="The last LINES.")
@click.option("-f", "--follow", is_flag=True, help="Go on until the task has ended.")
@json_option
@url_option
def command(
    job: str, attempt: int | None, stderr: bool, lines: int, follow: bool, as_json: bool, url: str | None
) -> int:
    """Print what one instance of a job has written; the first one, if none is named."""
    name, slash, number = job.partition("/")
    if slash and not number.isdecimal():
        raise Failure(f"{number!r} is no instance; write {name}/0", exits.USAGE)
    framework = Framework(url)
    parameters = {"instance": number or 0, "attempt": attempt, "output": "stderr" if stderr else "stdout"}

    def read(offset: int | None) -> api.Log:
        return framework.get(
            job_path(name, "/logs"), api.Log, **parameters, offset=offset, lines=lines if offset is None else None
        )

    log = read(None)
    _print(log, as_json)
    if follow:
        if (parts := parse_task_id(log.task)) is not None:
            parameters["attempt"] = parts.attempt  # It is fixed now: a retry has a log of its own.
        _follow(read, log, as_json)
    return exits.OK


def _follow(read: Callable[[int], api.Log], log: api.Log, as_json: bool) -> None:
    while not log.ended:
        before = log.next_offset
        log = read(before)
        if log.next_offset == before and not log.ended:
            time.sleep(_FOLLOW_PAUSE_S)
        elif log.text:
            _print(log, as_json)


def _print(log: api.Log, as_json: bool) -> None:
    if as_json:
        print_json(log)
    else:
        click.echo(log.text, nl=False, color=True)  # As it was written; click would take colours out of a file.
    sys.stdout.flush()
