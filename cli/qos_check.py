"""`serenity qos check`: whether a pipeline file can be used."""

from __future__ import annotations

from pathlib import Path

import click

from serenity.cli.failure import Failure
from serenity.cli.output import words
from serenity.daemon import exits


@click.command("check")
@click.argument("file", type=click.Path(path_type=Path))
def command(file: Path) -> int:
    """Say whether pipeline FILE can be used; if not, which key is wrong and what to write."""
    from serenity.estimator.slack.pipeline import SlackStages
    from serenity.qos.pipeline import Pipeline, read
    from serenity.qos.stages import PipelineError

    try:
        tables = read(file)
        if not tables.for_estimator_alone:
            Pipeline.from_table(tables)
        SlackStages.from_file(tables)
    except PipelineError as error:
        raise Failure(str(error), exits.USAGE) from error
    words(f"{file} is a pipeline")
    return exits.OK
