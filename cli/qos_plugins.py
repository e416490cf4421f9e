"""`serenity qos plugins`: what pipelines are made of."""

from __future__ import annotations

import inspect

import click

from serenity.cli import exits
from serenity.cli.client import json_option
from serenity.cli.output import bold, print_json


@click.command("plugins")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> int:
    """List the stages (or the one called NAME): what each does, when it fires, its parameters."""
    from serenity.cli.failure import Failure
    from serenity.qos.plugins import plugins

    found = [each for each in plugins() if name in (None, each.name)]
    if not found:
        known = ", ".join(each.name for each in plugins())
        raise Failure(f"there is no stage {name!r}; there are {known}", exits.NOT_FOUND)
    if as_json:
        print_json(found)
        return exits.OK
    for each in found:
        click.echo(bold(f"{each.kind} {each.name}"))
        click.echo(_indented(inspect.cleandoc(each.text)))
        for parameter in each.parameters:
            unit = f" ({parameter.unit})" if parameter.unit else ""
            click.echo(f"    {parameter.name} = {parameter.default}{unit}: {parameter.meaning}")
        click.echo()
    return exits.OK


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())
