"""`serenity nodes`: the agents, their slack, and which of them get nothing new."""

from __future__ import annotations

import time
from urllib.parse import quote

import click
import msgspec

from serenity.cli import amounts
from serenity.cli.client import Framework, json_option, url_option
from serenity.cli.output import ago, folded, print_json, shorten, table, words
from serenity.daemon import exits
from serenity.wire.mesos.quantities import format_duration, format_mem
from serenity.wire.messages import api

_HOLD_FOR_S = 3600.0


@click.command("nodes")
@click.option("--hold", metavar="AGENT", help="Place nothing new on that agent (its id or hostname).")
@click.option(
    "--for",
    "for_s",
    metavar="TIME",
    callback=amounts.positive_duration,
    help="With --hold: for how long, such as 10m (default 1h).",
)
@click.option("--reason", metavar="TEXT", help="With --hold: why; `serenity nodes` shows it.")
@click.option("--release", metavar="AGENT", help="Place work on that agent again.")
@click.option("--estimators", is_flag=True, help="Show the estimators that the framework rolls out, instead.")
@json_option
@url_option
def command(
    hold: str | None,
    for_s: float | None,
    reason: str | None,
    release: str | None,
    estimators: bool,
    as_json: bool,
    url: str | None,
) -> int:
    """List the agents: how much slack each has, and how much of it best-effort tasks hold.

    An agent that is held gets no new tasks; those that it runs go on.
    """
    if hold is not None and release is not None:
        raise click.UsageError("--hold and --release do not go together")
    if hold is None and (for_s is not None or reason is not None):
        raise click.UsageError("--for and --reason are for --hold AGENT")
    if estimators and (hold is not None or release is not None):
        raise click.UsageError("--estimators does not go with --hold or --release")
    framework = Framework(url)
    if hold is not None:
        request = api.HoldRequest(for_s=for_s or _HOLD_FOR_S, reason=reason or "")
        return _held(framework.post(_path(hold, "hold"), request, api.Node), as_json)
    if release is not None:
        return _released(framework.post(_path(release, "release"), {}, api.Node), as_json)
    nodes = framework.get("/v1/nodes", api.Nodes)
    if estimators:
        return _list_estimators(nodes, as_json)
    return _list(nodes.nodes, as_json)


def _path(agent: str, rest: str) -> str:
    return f"/v1/nodes/{quote(agent, safe='')}/{rest}"


def _held(node: api.Node, as_json: bool) -> int:
    if as_json:
        print_json(node)
    elif node.hold is not None:
        left = format_duration(node.hold.until - time.time())
        words(f"{node.hostname} gets nothing new for {left}; its {node.tasks} tasks go on")
    return exits.OK


def _released(node: api.Node, as_json: bool) -> int:
    if as_json:
        print_json(msgspec.structs.replace(node, hold=None))
    else:
        words(f"{node.hostname} gets work again" if node.hold is not None else f"{node.hostname} was not held")
    return exits.OK


def _list(nodes: tuple[api.Node, ...], as_json: bool) -> int:
    if as_json:
        print_json(nodes)
        return exits.OK
    if not nodes:
        words("the master knows no agents")
        return exits.OK
    head = ("AGENT", "UP", "SLACK CPUS", "HELD", "SLACK MEM", "HELD", "TASKS")
    click.echo(table(head, [_row(each) for each in nodes], right=frozenset(head[2:])))
    for each in nodes:
        if each.hold is not None:
            why = f": {each.hold.reason}" if each.hold.reason else ""
            left = format_duration(each.hold.until - time.time())
            click.echo(folded(f"{each.hostname} gets nothing new for {left}{why}", 2))
    return exits.OK


def _row(node: api.Node) -> tuple[str, ...]:
    return (
        shorten(node.hostname, 30),
        "yes" if node.active else "no",
        f"{node.slack_cpus:g}",
        f"{node.held_cpus:g}",
        format_mem(node.slack_mem_bytes) if node.slack_mem_bytes else "-",
        format_mem(node.held_mem_bytes) if node.held_mem_bytes else "-",
        str(node.tasks),
    )


def _list_estimators(nodes: api.Nodes, as_json: bool) -> int:
    if as_json:
        print_json(nodes)
        return exits.OK
    if not nodes.nodes:
        return _list((), as_json)
    known = [(each.hostname, each.estimator) for each in nodes.nodes if each.estimator is not None]
    if not known:
        words("this framework rolls out no estimators, and has none; `serenity framework --roll-out-estimators` does")
        return exits.OK
    head = ("AGENT", "ESTIMATOR", "VERSION", "SINCE")
    click.echo(table(head, [_estimator_row(*each) for each in known]))
    for hostname, each in known:
        if each.why:
            click.echo(folded(f"{hostname}: {each.why}", 2))
        if each.remedy:
            click.echo(f"  to reserve it: {each.remedy}")  # To be copied, and so never folded.
    if nodes.roll_out:
        click.echo(folded(nodes.roll_out, 2))
    return exits.OK


def _estimator_row(hostname: str, estimator: api.Estimator) -> tuple[str, ...]:
    version = f"{estimator.version} (old)" if estimator.outdated else estimator.version or "-"
    return shorten(hostname, 30), estimator.state, version, ago(estimator.since)
