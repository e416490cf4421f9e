"""`serenity qos replay`: what a pipeline would have decided over a trace."""

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
    from serenity.qos.replay import Decision


@click.command("replay")
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--config", type=click.Path(path_type=Path), help="The pipeline file; the built-in one by default.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw signals, baselines and decisions into a PNG file.")
@json_option
def command(trace: Path, config: Path | None, plot: Path | None, as_json: bool) -> int:
    """Run a pipeline over TRACE (docs/traces.md) and print its decisions, one a line, as they are made."""
    from serenity.qos.frame import COLUMNS
    from serenity.qos.pipeline import DEFAULT_FILE, Pipeline
    from serenity.qos.replay import Replay
    from serenity.qos.stages import PipelineError
    from serenity.qos.trace import TraceError, read_trace

    picture = Picture("qos_plot", plot)
    try:
        pipeline = Pipeline.load(config or DEFAULT_FILE)
        replay = Replay(pipeline)
        frames, made = 0, 0
        for frame in read_trace(trace, COLUMNS if plot else pipeline.reads):
            decisions = replay.step(frame)
            frames, made = frames + 1, made + len(decisions)
            for decision in decisions:
                click.echo(msgspec.json.encode(decision) if as_json else _line(decision))
            picture.add(frame, decisions)
    except (PipelineError, TraceError) as error:
        picture.save_so_far()  # A trace that was cut off is valid up to that point.
        raise Failure(str(error), exits.USAGE) from error
    picture.save()
    if not as_json:
        words(f"{frames} frames, {made} decisions")
    return exits.OK


def _line(decision: Decision) -> str:
    if decision.action == "release":
        return f"{decision.t:10.1f}  {decision.protected}: recovered"
    top = f"{decision.action} {decision.suspects[0]}" if decision.suspects else "nobody to suspect"
    seen = ""
    if decision.observed is not None and decision.baseline is not None:
        seen = f" ({decision.signal} {decision.observed:.4g} vs {decision.baseline:.4g})"
    return f"{decision.t:10.1f}  {decision.protected}: {decision.cause} contention{seen}; {top}"
