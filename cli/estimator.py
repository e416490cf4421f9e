"""`serenity estimator`: the daemon, and the commands by which an operator of its node controls it."""

from __future__ import annotations

import importlib

import click

from serenity.cli.daemon_process import daemon_command

# Verbs beside the daemon's own options: each a command in `estimator_valve`.
_VERBS = ("hold", "release", "leases")

_daemon = daemon_command("estimator")


@click.command("estimator", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(context: click.Context, arguments: tuple[str, ...]) -> int:
    """Run the estimator of this node; or hold, release or show its valve."""
    if arguments and arguments[0] in _VERBS:
        verb: click.Command = getattr(importlib.import_module("serenity.cli.estimator_valve"), arguments[0])
        with verb.make_context(f"{context.command_path} {verb.name}", list(arguments[1:])) as made:
            code: int = verb.invoke(made)
            return code
    context.invoke(_daemon, arguments=arguments)
    return 0  # Not reached: the process has become the daemon.
