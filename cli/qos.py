"""`serenity qos`: pipelines and traces.  One file a verb, imported when it is used."""

from __future__ import annotations

import importlib

import click

VERBS = {
    "replay": ("qos_replay", "Run a pipeline over a recorded trace."),
    "check": ("qos_check", "Say whether a pipeline file can be used."),
    "draw": ("qos_draw", "Draw a pipeline."),
    "record": ("qos_record", "Record this node's frames into a trace."),
    "plugins": ("qos_plugins", "List filters, detectors and strategies with their parameters."),
}


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


@click.command("qos", cls=_Verbs)
def command() -> None:
    """QoS pipelines: run them over traces, check them, draw them, list what they are made of."""
