"""`serenity submit`: a job from the command line, or many from a file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from serenity.cli import amounts, job_file
from serenity.cli.client import Framework, json_option, url_option
from serenity.cli.failure import Failure
from serenity.cli.output import print_json, words
from serenity.daemon import exits
from serenity.wire.messages import api
from serenity.wire.messages.constraints import Constraint
from serenity.wire.messages.uris import Uri

_OF_NO_JOB = frozenset({"argv", "wait", "as_json", "url"})


def _pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for value in values:
        key, equals, rest = value.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{value!r} is not KEY=VALUE", ctx, param)
        pairs[key] = rest
    return pairs


def _parsed(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """`parse` as a callback of click: for one text, or for several where the option may be repeated."""

    def convert(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        try:
            return tuple(map(parse, value)) if isinstance(value, tuple) else value and parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, param) from None

    return convert


@click.command("submit", context_settings={"allow_interspersed_args": False})
@click.option("--name", metavar="NAME", help="What to call it; the program's name if not given.")
@click.option("--id", metavar="ID", help="Your own for it: submitted again with the same, it is the same job.")
@click.option("--cpus", metavar="N", callback=amounts.cpus, default="0.5", show_default=True, help="For each instance.")
@click.option(
    "--mem",
    "mem_bytes",
    metavar="SIZE",
    callback=amounts.mem,
    default="512M",
    show_default=True,
    help="For each instance.",
)
@click.option(
    "--disk",
    "disk_bytes",
    metavar="SIZE",
    callback=amounts.mem,
    help="In each one's sandbox; the agent's limit if not given.",
)
@click.option("--instances", metavar="N", type=click.IntRange(1), default=1, show_default=True, help="How many to run.")
@click.option(
    "--max-retries", metavar="N", type=click.IntRange(0), default=3, show_default=True, help="For its own failures."
)
@click.option(
    "--max-free-retries",
    metavar="N",
    type=click.IntRange(0),
    help="For all other ends.  [default: as often as need be]",
)
@click.option(
    "--max-runtime",
    "max_runtime_s",
    metavar="TIME",
    callback=amounts.positive_duration,
    help="Such as 2h; then it is ended.",
)
@click.option(
    "--grace", "grace_s", metavar="TIME", callback=amounts.duration, help="From SIGTERM to SIGKILL.  [default: 5s]"
)
@click.option(
    "--on-unreachable",
    "rerun_unreachable_after_s",
    metavar="WHAT",
    callback=_parsed(job_file.rerun_after_s),
    help="Of an agent that is cut off: wait, or 'rerun-after 10m', elsewhere, though it may still run there.  "
    "[default: wait]",
)
@click.option("--env", multiple=True, metavar="K=V", callback=_pairs, help="A variable for it; may be repeated.")
@click.option(
    "--label", "labels", multiple=True, metavar="K=V", callback=_pairs, help="A label on it; may be repeated."
)
@click.option("--priority", metavar="N", type=int, default=0, show_default=True, help="Higher ones are placed first.")
@click.option(
    "--constraint",
    "constraints",
    multiple=True,
    metavar="TEXT",
    callback=_parsed(Constraint.parse),
    help="On the agent's attributes: 'rack == r7', 'os != a', 'os ~ deb.*', 'zone in a,b'; may be repeated.",
)
@click.option(
    "--uri",
    "uris",
    multiple=True,
    metavar="URI",
    callback=_parsed(Uri.parse),
    help="Fetched into its sandbox, archives unpacked: http(s)://… or file:///…, "
    "with #executable, #keep, #as=NAME, #sha256=HEX; may be repeated.",
)
@click.option("--user", metavar="USER", help="Who it runs as; if not given, you, or whom the agents have chosen.")
@click.option("--shell", metavar="LINE", help="A line for /bin/sh, in place of COMMAND.")
@click.option("--wait", is_flag=True, help="Wait until it has ended; the exit code says how.")
@click.argument("argv", nargs=-1, metavar="-- COMMAND... | FILE.toml")
@json_option
@url_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    argv: tuple[str, ...],
    shell: str | None,
    wait: bool,
    as_json: bool,
    url: str | None,
    **job: Any,
) -> int:
    """Submit a job: COMMAND runs on the slack, in as many instances as asked for.  Or all jobs of a FILE.toml.

    \b
    serenity submit --name hello --instances 3 -- sh -c 'echo hi; sleep 2'
    serenity submit --shell 'sort < words > sorted' --uri https://host/words
    """
    from_file = bool(argv) and argv[0].endswith(".toml") and shell is None
    if from_file:
        if len(argv) > 1:
            raise click.UsageError(f"options stand before {argv[0]}, and nothing behind it", ctx)
        _require_no_job_flags(ctx)
        requests = job_file.read(Path(argv[0]))
    elif bool(argv) == (shell is not None):
        raise click.UsageError("give COMMAND, or --shell LINE, or a FILE.toml, and only one of them", ctx)
    else:
        given = {key: value for key, value in job.items() if value is not None}
        try:
            requests = [api.JobRequest(command=shell if shell is not None else argv, **given)]
        except ValueError as error:
            raise click.UsageError(str(error), ctx) from None
    framework = Framework(url)
    jobs = _submit_all(framework, requests, tell=not as_json)
    if not wait:
        if as_json:
            print_json(jobs if from_file else jobs[0])
        return exits.OK
    from serenity.cli.wait import wait_for

    return wait_for(framework, [each.id for each in jobs], timeout_s=None, as_json=as_json)


def _require_no_job_flags(ctx: click.Context) -> None:
    for each in ctx.command.params:
        said = each.name is not None and ctx.get_parameter_source(each.name) is ParameterSource.COMMANDLINE
        if said and each.name not in _OF_NO_JOB:
            raise click.UsageError(f"{each.opts[0]} is for one job; write it into the file", ctx)


def _submit_all(framework: Framework, requests: list[api.JobRequest], tell: bool) -> list[api.Job]:
    """Raises Failure, which says how many jobs were submitted before."""
    jobs: list[api.Job] = []
    for request in requests:
        try:
            jobs.append(framework.post("/v1/jobs", request, api.Job))
        except Failure as failure:
            if len(requests) == 1:
                raise
            named = f" ({request.name})" if request.name else ""
            done = f"the {len(jobs)} before it were submitted" if jobs else "none was submitted"
            text = f"job {len(jobs) + 1} of {len(requests)}{named}: {failure.format_message()}; {done}"
            raise Failure(text, failure.exit_code) from None
        if tell:
            click.echo(jobs[-1].id)
    if tell and sys.stdout.isatty():
        what = f"submitted {jobs[0].name}" if len(jobs) == 1 else f"submitted {len(jobs)} jobs"
        words(f"{what}; `serenity show {jobs[-1].id}` tells how it goes")
    return jobs
