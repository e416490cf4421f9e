"""An error for the user: one line on stderr and an exit code."""

from __future__ import annotations

from typing import IO, Any

import click


class Failure(click.ClickException):
    """Ends the command with `exit_code` after one line that says what is wrong and what to do."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]  # click declares it a class variable, and reads it here.

    def show(self, file: IO[Any] | None = None) -> None:
        from serenity.cli.output import printable  # Only then: it loads msgspec.

        click.echo(f"serenity: {printable(self.format_message())}", file=file, err=file is None)
