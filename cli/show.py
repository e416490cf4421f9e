"""`serenity show`: a job, its attempts, and its kills in a line each."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence

import click

from serenity.cli.client import Framework, job_path, json_option, url_option
from serenity.cli.job_argument import complete_job
from serenity.cli.output import (
    ago,
    bold,
    clock_time,
    faint,
    folded,
    print_json,
    printable,
    shorten,
    state_text,
    table,
    terminal_width,
    words,
)
from serenity.daemon import exits
from serenity.wire.mesos.quantities import format_duration, format_mem
from serenity.wire.messages import api
from serenity.wire.messages.task_end import TaskEnd

_MOST_ATTEMPTS = 40
_MOST_KILLS = 20


@click.command("show")
@click.argument("job", shell_complete=complete_job)
@click.option("--records", is_flag=True, help="Print the kill records whole, as JSON, one a line.")
@json_option
@url_option
def command(job: str, records: bool, as_json: bool, url: str | None) -> int:
    """Show one job, its attempts and kills.  JOB is an id, or a name that only one job has."""
    detail = Framework(url).get(job_path(job), api.JobDetail)
    if as_json:
        print_json(detail)
    elif records:
        for attempt in detail.attempts:
            if attempt.record is not None:
                print_json(attempt.record)
    else:
        for line in _lines(detail):
            click.echo(line)
        if len(detail.attempts) > _MOST_ATTEMPTS:
            words(f"the last {_MOST_ATTEMPTS} of {len(detail.attempts)} attempts; --json has them all")
    return exits.OK


def _lines(detail: api.JobDetail) -> Iterator[str]:
    job, request = detail.job, detail.job.request
    yield f"{bold(job.name)} {faint(f'({job.id})')}  {state_text(job.state)}  {_counts(job)}"
    yield from (f"  {faint(title.ljust(9))}  {printable(text)}" for title, text in _facts(job))
    yield ""
    head = ("INST", "TRY", "STATE", "AGENT", "RAN", "CPU", "MEM", "ENDED", "WHY")
    shown = sorted(detail.attempts, key=lambda a: a.created_at)[-_MOST_ATTEMPTS:]
    shown.sort(key=lambda a: (a.instance, a.attempt))
    if request.instances > 0:
        yield table(head, [_row(each) for each in shown], right=frozenset({"INST", "TRY", "RAN", "CPU", "MEM"}))
    kills = [each for each in detail.attempts if each.killed]
    if kills:
        yield ""
        yield bold("Kills") + (f" (the last {_MOST_KILLS} of {len(kills)})" if len(kills) > _MOST_KILLS else "")
        yield from _kill_lines(sorted(kills, key=lambda a: a.ended_at or 0.0)[-_MOST_KILLS:])


def _facts(job: api.Job) -> Iterator[tuple[str, str]]:
    request = job.request
    line = request.command if isinstance(request.command, str) else shlex.join(request.command)
    yield "command", _fit(" ".join(line.split()), 13)
    asks = f"{request.cpus:g} cpus, {format_mem(request.mem_bytes)}"
    asks += f", {format_mem(request.disk_bytes)} of disk" if request.disk_bytes else ""
    asks += f", {request.instances} instances" if request.instances > 1 else ""
    asks += f", at most {format_duration(request.max_runtime_s)}" if request.max_runtime_s else ""
    yield "asks for", asks
    free = "any number" if request.max_free_retries is None else str(request.max_free_retries)
    yield "retries", f"{request.max_retries} of its own failures, {free} of the platform's"
    if request.rerun_unreachable_after_s is not None:
        yield "cut off", f"rerun after {format_duration(request.rerun_unreachable_after_s)}, though it may still run"
    yield "submitted", f"{clock_time(job.submitted_at)}, {ago(job.submitted_at)} ago"
    if job.ended_at is not None:
        yield "ended", f"{clock_time(job.ended_at)}, after {format_duration(job.ended_at - job.submitted_at)}"
    if request.id:
        yield "id", request.id
    if job.owner:
        yield "owner", job.owner
    if request.user:
        yield "user", request.user
    if request.constraints:
        yield "where", _fit("; ".join(map(str, request.constraints)), 13)
    for uri in request.uris:
        yield "fetches", _fit(uri.shown, 13)
    if request.priority:
        yield "priority", str(request.priority)
    if request.labels:
        yield "labels", _fit(" ".join(f"{key}={value}" for key, value in request.labels.items()), 13)


def _counts(job: api.Job) -> str:
    return ", ".join(f"{count} {state}" for state, count in job.counts.items())


def _row(attempt: api.Attempt) -> tuple[str, ...]:
    ran = "-"
    if attempt.running_at is not None:
        ran = format_duration(attempt.ended_at - attempt.running_at) if attempt.ended_at else ago(attempt.running_at)
    used = attempt.measured or TaskEnd()
    return (
        str(attempt.instance),
        str(attempt.attempt),
        attempt.state.value,
        attempt.hostname or "-",
        ran,
        format_duration(used.cpu_s) if used.cpu_s is not None else "-",
        format_mem(used.peak_mem_bytes) if used.peak_mem_bytes is not None else "-",
        clock_time(attempt.ended_at) if attempt.ended_at else "-",
        _why(attempt),
    )


def _why(attempt: api.Attempt) -> str:
    message = " ".join(attempt.message.split())
    if attempt.reason is None:
        return message
    return f"{attempt.reason}: {message}" if message and not attempt.killed else attempt.reason


def _kill_lines(kills: Sequence[api.Attempt]) -> Iterator[str]:
    for each in kills:
        assert each.ended_at is not None
        line = f"  {clock_time(each.ended_at)}  {each.instance}.{each.attempt}  {each.line}"
        yield folded(line, indent=12)


def _fit(text: str, used: int) -> str:
    return shorten(text, terminal_width() - used) if sys.stdout.isatty() else text
