"""`serenity qos`: pipelines and traces.  One file a verb, imported when it is used."""

from __future__ import annotations

import click

from serenity.cli.lazy_group import LazyGroup

VERBS = {
    "replay": ("qos_replay", "Run a pipeline over a recorded trace."),
    "check": ("qos_check", "Say whether a pipeline file can be used."),
    "draw": ("qos_draw", "Draw a pipeline."),
    "record": ("qos_record", "Record this node's frames into a trace."),
    "plugins": ("qos_plugins", "List filters, detectors, strategies and predictors."),
}


@click.command("qos", cls=LazyGroup, verbs=VERBS)
def command() -> None:
    """QoS pipelines: run them over traces, check them, draw them, list what they are made of."""
