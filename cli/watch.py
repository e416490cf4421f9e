"""`serenity watch`: what happens, as it happens."""

from __future__ import annotations

import sys

import click

from serenity.cli.client import Framework, job_path, json_option, url_option
from serenity.cli.events import follow
from serenity.cli.job_argument import complete_job
from serenity.cli.output import clock_time, faint, folded, print_json, state_text
from serenity.daemon import exits
from serenity.wire.messages import api
from serenity.wire.messages.api import EventType, JobState
from serenity.wire.messages.task_id import parse_task_id

_STATE_COLUMNS = 11  # The longest is "unreachable".
_OF_QOS = (EventType.KILL, EventType.CORRECTION, EventType.HINT)


@click.command("watch")
@click.argument("job", required=False, shell_complete=complete_job)
@click.option("--kills", is_flag=True, help="Only kills, corrections and hints.")
@json_option
@url_option
def command(job: str | None, kills: bool, as_json: bool, url: str | None) -> int:
    """Follow what happens to all jobs, or to JOB, until interrupted.  Survives a restart of the framework."""
    framework = Framework(url)
    for event in follow(framework, "/v1/events" if job is None else job_path(job, "/events")):
        if kills and event.type not in _OF_QOS:
            continue
        if as_json:
            print_json(event)
        elif (line := _line(event)) is not None:
            click.echo(line)
        sys.stdout.flush()
    return exits.OK


def _line(event: api.Event) -> str | None:
    """Such as ``12:03:04  failed     hello 0.1 on h7: exited with 3``; None if it only repeats the line before."""
    state = "corrected" if event.type is EventType.CORRECTION else event.state or ""
    if event.type is EventType.JOB and event.text == f"job {state}" and not JobState(state).ended:
        return None
    who = event.name or event.job or "a task that is not known any more"
    if event.type is EventType.HINT:
        who = event.hostname or "an agent"  # The suspect is no task of ours: there is no job to name.
    elif event.task is not None:
        parts = parse_task_id(event.task)
        who += f" {event.task if parts is None else f'{parts.instance}.{parts.attempt}'}"
    what = event.text.removeprefix("job ").removeprefix(state)
    text = who + (what if what != event.text or not what else f": {what}")
    line = folded(f"{clock_time(event.at)}  {state.ljust(_STATE_COLUMNS)}  {text}", indent=_STATE_COLUMNS + 12)
    head, _, rest = line.partition(f"  {state.ljust(_STATE_COLUMNS)}")
    return f"{faint(head)}  {state_text(state, _STATE_COLUMNS)}{rest}"
