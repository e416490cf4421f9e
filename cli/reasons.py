"""`serenity reasons`: the catalogue of why attempts end."""

from __future__ import annotations

import click

from serenity.cli.client import json_option
from serenity.cli.output import print_json, table
from serenity.daemon import exits
from serenity.wire.mesos.quantities import format_duration
from serenity.wire.messages.reasons import Reason


@click.command("reasons")
@json_option
def command(as_json: bool) -> int:
    """List the reasons for which attempts end: who pays, and for how long the agent is avoided."""
    if as_json:
        print_json(
            [
                {"code": each.code, "text": each.text, "payer": each.payer.value, "avoid_s": each.avoid_s}
                for each in Reason
            ]
        )
        return exits.OK
    head = ("CODE", "PAYS", "AVOID", "TEXT")
    rows = [
        (each.code, each.payer.value, format_duration(each.avoid_s) if each.avoid_s else "-", each.text)
        for each in Reason
    ]
    click.echo(table(head, rows, whole=True))
    return exits.OK
