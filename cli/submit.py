"""`serenity submit`: a job from the command line."""

from __future__ import annotations

import sys

import click

from serenity.cli import amounts, exits
from serenity.cli.client import Framework, json_option, url_option
from serenity.cli.output import print_json, words
from serenity.wire.messages import api


def _pairs(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    pairs = {}
    for value in values:
        key, equals, rest = value.partition("=")
        if not equals or not key:
            raise click.BadParameter(f"{value!r} is not KEY=VALUE", ctx, param)
        pairs[key] = rest
    return pairs


@click.command("submit", context_settings={"allow_interspersed_args": False})
@click.option("--name", metavar="NAME", help="What to call it; the program's name if not given.")
@click.option("--cpus", metavar="N", callback=amounts.cpus, default="0.5", show_default=True, help="For each instance.")
@click.option(
    "--mem", metavar="SIZE", callback=amounts.mem, default="512M", show_default=True, help="For each instance."
)
@click.option("--instances", metavar="N", type=click.IntRange(1), default=1, show_default=True, help="How many to run.")
@click.option(
    "--max-retries", metavar="N", type=click.IntRange(0), default=3, show_default=True, help="For its own failures."
)
@click.option("--max-runtime", metavar="TIME", callback=amounts.positive_duration, help="Such as 2h; then it is ended.")
@click.option("--grace", metavar="TIME", callback=amounts.duration, help="From SIGTERM to SIGKILL.  [default: 5s]")
@click.option("--env", multiple=True, metavar="K=V", callback=_pairs, help="A variable for it; may be repeated.")
@click.option("--label", multiple=True, metavar="K=V", callback=_pairs, help="A label on it; may be repeated.")
@click.option("--priority", metavar="N", type=int, default=0, show_default=True, help="Higher ones are placed first.")
@click.option("--user", metavar="USER", help="Who it runs as; whom the agents have chosen if not given.")
@click.option("--wait", is_flag=True, help="Wait until it has ended; the exit code says how.")
@click.argument("argv", nargs=-1, required=True, metavar="-- COMMAND...")
@json_option
@url_option
def command(
    name: str | None,
    cpus: float,
    mem: int,
    instances: int,
    max_retries: int,
    max_runtime: float | None,
    grace: float | None,
    env: dict[str, str],
    label: dict[str, str],
    priority: int,
    user: str | None,
    wait: bool,
    argv: tuple[str, ...],
    as_json: bool,
    url: str | None,
) -> int:
    """Submit a job: COMMAND runs on the slack, in as many instances as asked for.

    \b
    serenity submit --name hello --instances 3 -- sh -c 'echo hi; sleep 2'
    """
    request = api.JobRequest(
        command=argv,
        name=name,
        cpus=cpus,
        mem_bytes=mem,
        instances=instances,
        max_retries=max_retries,
        max_runtime_s=max_runtime,
        env=env,
        labels=label,
        priority=priority,
        user=user,
        **({} if grace is None else {"grace_s": grace}),
    )
    framework = Framework(url)
    job = framework.post("/v1/jobs", request, api.Job)
    if as_json and not wait:
        print_json(job)
    elif not as_json:
        click.echo(job.id)
        if sys.stdout.isatty():
            words(f"submitted {job.name}; `serenity show {job.id}` tells how it goes")
    if not wait:
        return exits.OK
    from serenity.cli.wait import wait_for

    return wait_for(framework, [job.id], timeout_s=None, as_json=as_json)
