"""The daemons are processes of their own modules: gevent must patch before anything else is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

import click


def daemon_command(room: str, check: Callable[[Sequence[str]], None] = lambda arguments: None) -> click.Command:
    """A verb that becomes ``python -m serenity.ROOM`` with the same arguments, in the same process.

    `check` may refuse them before, by raising Failure.
    """

    @click.command(room, context_settings={"ignore_unknown_options": True, "help_option_names": []})
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def run(arguments: tuple[str, ...]) -> None:
        check(arguments)
        sys.stdout.flush()
        os.execv(sys.executable, [sys.executable, "-P", "-m", f"serenity.{room}", *arguments])

    return run
