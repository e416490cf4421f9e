"""A command with verbs, each in a module of its own that is imported only when the verb or its help is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import click

Verbs = Mapping[str, tuple[str, str]]


class LazyGroup(click.Group):
    """`verbs`: for each verb the module with its click command, named ``command``, and its line in the help text.

    `sections`: for each section of that text its title and its verbs; by default one section with all verbs.
    """

    def __init__(
        self, *args: Any, verbs: Verbs, sections: Mapping[str, Sequence[str]] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._verbs = verbs
        self._sections = sections or {"Commands": tuple(verbs)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._verbs:
            return None
        command: click.Command = importlib.import_module(f"serenity.cli.{self._verbs[cmd_name][0]}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, verbs in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([(verb, self._verbs[verb][1]) for verb in verbs])
