"""`serenity slack replay`: the slack that the estimator would have told over a trace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from serenity.cli.client import json_option
from serenity.cli.drawing import Picture
from serenity.cli.failure import Failure
from serenity.cli.output import words
from serenity.daemon import exits

if TYPE_CHECKING:
    from serenity.estimator.slack.pipeline import SlackStages
    from serenity.estimator.slack.replay import Step


@click.command("replay")
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--predictor", metavar="NAME", help="Another predictor, with its default parameters (docs/slack.md).")
@click.option("--config", type=click.Path(path_type=Path), help="The pipeline file; the built-in one by default.")
@click.option(
    "--plot", type=click.Path(path_type=Path), help="Draw use, prediction, slack and violations into a PNG file."
)
@json_option
def command(trace: Path, predictor: str | None, config: Path | None, plot: Path | None, as_json: bool) -> int:
    """Estimate the slack over TRACE (docs/traces.md), a line a frame.

    Nothing looks ahead: a trace cut short gives the same estimates up to the cut.
    """
    from serenity.estimator.slack.replay import SlackReplay
    from serenity.qos.stages import PipelineError
    from serenity.qos.trace import TraceError, read_trace

    picture = Picture("slack_plot", plot)
    try:
        replay = SlackReplay(_stages(config, predictor))
        frames = 0
        for frame in read_trace(trace):
            step, frames = replay.step(frame), frames + 1
            click.echo(msgspec.json.encode(step.estimate) if as_json else _line(step))
            picture.add(frame, step.slack)
    except (PipelineError, TraceError) as error:
        picture.save_so_far()  # A trace that was cut off is valid up to that point.
        raise Failure(str(error), exits.USAGE) from error
    picture.save()
    if not as_json:
        words(f"{frames} frames")
    return exits.OK


def _stages(config: Path | None, predictor: str | None) -> SlackStages:
    from dataclasses import replace

    from serenity.estimator.slack.pipeline import SlackStages
    from serenity.qos.pipeline import DEFAULT_FILE, read

    file = read(config or DEFAULT_FILE)
    if predictor is not None and file.slack.get("predictor", {}).get("name") != predictor:
        file = replace(file, slack={**file.slack, "predictor": {"name": predictor}})
    return SlackStages.from_file(file)


def _line(step: Step) -> str:
    from serenity.wire.mesos.quantities import format_mem

    told = step.estimate
    why = f"  ({'; '.join(step.slack.why)})" if step.slack.why else ""
    return f"{told.t:10.1f}  {told.cpus:g} cpus, {format_mem(told.mem_bytes)}{why}"
