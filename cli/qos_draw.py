"""`serenity qos draw`: a pipeline as a picture."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serenity.cli.failure import Failure
from serenity.daemon import exits

if TYPE_CHECKING:
    from serenity.qos.pipeline import PipelineFile


@click.command("draw")
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option(
    "--format",
    "wanted",
    type=click.Choice(["mermaid", "dot", "svg", "png"]),
    default="mermaid",
    show_default=True,
    help="svg and png need Graphviz.",
)
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write it there, and not to stdout.")
def command(file: Path | None, wanted: str, output: Path | None) -> int:
    """Draw pipeline FILE, or the built-in one: its chains of stages with their parameters."""
    from serenity.estimator.slack.pipeline import SlackStages
    from serenity.qos import draw
    from serenity.qos.pipeline import DEFAULT_FILE, Pipeline, read
    from serenity.qos.stages import PipelineError

    try:
        tables = read(file or DEFAULT_FILE)
        if not tables.for_estimator_alone:
            Pipeline.from_table(tables)  # Only a pipeline that can run is drawn.
        SlackStages.from_file(tables)
    except PipelineError as error:
        raise Failure(str(error), exits.USAGE) from error
    drawn = draw.graph(tables, _slack_stages(tables))
    text = draw.mermaid(drawn) if wanted == "mermaid" else draw.dot(drawn)
    content = text.encode() if wanted in ("mermaid", "dot") else _graphviz(text, wanted)
    if output is None and wanted == "png" and sys.stdout.isatty():
        raise Failure("a PNG is nothing for a terminal; add --output FILE.png", exits.USAGE)
    if output is None:
        sys.stdout.buffer.write(content)
        return exits.OK
    try:
        output.write_bytes(content)
    except OSError as error:
        raise Failure(f"{output} cannot be written: {error.strerror}", exits.USAGE) from error
    return exits.OK


def _slack_stages(tables: PipelineFile) -> dict[str, tuple[str, type]]:
    from serenity.estimator.predictors import DEFAULT_PREDICTOR, PREDICTORS
    from serenity.estimator.slack.formula import Limits
    from serenity.estimator.slack.pipeline import ReportParameters

    predictor = tables.slack.get("predictor", {}).get("name", DEFAULT_PREDICTOR)
    return {
        "predictor": (f"predictor: {predictor}", PREDICTORS[predictor].parameters),
        "limits": ("slack: limits", Limits),
        "report": ("slack: report", ReportParameters),
    }


def _graphviz(text: str, wanted: str) -> bytes:
    try:
        done = subprocess.run(["dot", f"-T{wanted}"], input=text.encode(), capture_output=True, timeout=60, check=True)
    except FileNotFoundError as error:
        raise Failure(
            f"{wanted} needs Graphviz, whose program dot is not on PATH; install graphviz, or use --format mermaid",
            exits.USAGE,
        ) from error
    except subprocess.SubprocessError as error:
        raise Failure(f"Graphviz failed: {error}", exits.USAGE) from error
    return done.stdout
