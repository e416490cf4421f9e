"""`serenity slack`: what the estimator makes of traces.  One file a verb, imported when it is used."""

from __future__ import annotations

import click

from serenity.cli.lazy_group import LazyGroup

VERBS = {"replay": ("slack_replay", "Estimate the slack over a recorded trace.")}


@click.command("slack", cls=LazyGroup, verbs=VERBS)
def command() -> None:
    """Slack: what the estimator would say over recorded traces."""
