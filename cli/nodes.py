"""`serenity nodes`: the agents and their slack."""

from __future__ import annotations

import click

from serenity.cli import exits
from serenity.cli.client import Framework, json_option, url_option
from serenity.cli.output import print_json, shorten, table, words
from serenity.wire.mesos.quantities import format_mem
from serenity.wire.messages import api


@click.command("nodes")
@json_option
@url_option
def command(as_json: bool, url: str | None) -> int:
    """List the agents: how much slack each has, and how much of it best-effort tasks hold."""
    nodes = Framework(url).get("/v1/nodes", api.Nodes).nodes
    if as_json:
        print_json(nodes)
        return exits.OK
    if not nodes:
        words("the master knows no agents")
        return exits.OK
    head = ("AGENT", "UP", "SLACK CPUS", "HELD", "SLACK MEM", "HELD", "TASKS")
    click.echo(table(head, [_row(each) for each in nodes], right=frozenset(head[2:])))
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
