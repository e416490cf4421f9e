"""`serenity slack`: what the estimator makes of traces.  One file a verb, imported when it is used."""

from __future__ import annotations

import importlib

import click

VERBS = {"replay": ("slack_replay", "Estimate the slack over a recorded trace.")}


class _Verbs(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"serenity.cli.{VERBS[cmd_name][0]}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, line) in VERBS.items()])


@click.command("slack", cls=_Verbs)
def command() -> None:
    """Slack: what the estimator would say over recorded traces."""
