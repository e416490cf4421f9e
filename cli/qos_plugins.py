"""`serenity qos plugins`: what pipelines are made of."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import click

from serenity.cli.client import json_option
from serenity.cli.output import bold, print_json
from serenity.daemon import exits

if TYPE_CHECKING:
    from serenity.qos.plugins import Plugin


@click.command("plugins")
@click.argument("name", required=False)
@json_option
def command(name: str | None, as_json: bool) -> int:
    """List the stages of [qos] and [slack] (or those called NAME): what each does, when it fires, its parameters."""
    from serenity.cli.failure import Failure

    stages = _stages()
    found = [each for each in stages if name in (None, each.name)]
    if not found:
        known = ", ".join(dict.fromkeys(each.name for each in stages))
        raise Failure(f"there is no stage {name!r}; there are {known}", exits.NOT_FOUND)
    if as_json:
        print_json(found)
        return exits.OK
    for each in found:
        click.echo(bold(f"{each.kind} {each.name}"))
        click.echo(_indented(inspect.cleandoc(each.text)))
        for parameter in each.parameters:
            told = "; ".join(filter(None, (parameter.unit, parameter.range)))
            unit = f" ({told})" if told else ""
            click.echo(f"    {parameter.name} = {parameter.default}{unit}: {parameter.meaning}")
        click.echo()
    return exits.OK


def _stages() -> list[Plugin]:
    from serenity.estimator.predictors import PREDICTORS
    from serenity.estimator.slack.formula import Limits
    from serenity.estimator.slack.pipeline import ReportParameters
    from serenity.qos.detectors import DETECTORS
    from serenity.qos.filters import FILTERS
    from serenity.qos.plugins import plugin, plugins
    from serenity.qos.strategies import STRATEGIES

    return [
        *plugins("filter", FILTERS),
        *plugins("detector", DETECTORS),
        *plugins("strategy", STRATEGIES),
        *plugins("predictor", PREDICTORS),
        plugin("slack", "limits", Limits, Limits),
        plugin("slack", "report", ReportParameters, ReportParameters),
    ]


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())
