"""`serenity config show`: every setting, its value, and where that came from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from serenity.cli.client import json_option
from serenity.cli.failure import Failure
from serenity.cli.output import print_json, table
from serenity.daemon import exits
from serenity.daemon.settings import Origin, SettingsError, resolve
from serenity.wire.transport.endpoint import without_credentials


@click.group("config")
def command() -> None:
    """The settings of the daemons."""


@command.command("show")
@click.option("--config", "file", type=click.Path(path_type=Path), help="The serenity.toml to read.")
@json_option
def show(file: Path | None, as_json: bool) -> int:
    """Print each setting, its value and its origin: flag, variable, file or default."""
    from serenity.estimator.settings import EstimatorSettings
    from serenity.executor.settings import ExecutorSettings
    from serenity.framework.settings import FrameworkSettings

    origins: dict[str, tuple[Origin, ...]] = {}
    try:
        origins["framework"] = resolve(FrameworkSettings, "framework", {}, file=file)[1]
        origins["executor"] = resolve(ExecutorSettings, "executor", {}, file=file)[1]
        origins["estimator"] = resolve(EstimatorSettings, "estimator", {}, file=file)[1]
    except SettingsError as error:
        raise Failure(str(error), exits.USAGE) from None
    if as_json:
        print_json(
            {
                name: {each.key: {"value": _shown(each.value), "origin": each.source} for each in entries}
                for name, entries in origins.items()
            }
        )
        return exits.OK
    rows = [
        (f"{name}.{each.key}", each.source, "-" if each.value is None else str(_shown(each.value)))
        for name, entries in origins.items()
        for each in entries
    ]
    click.echo(table(("SETTING", "FROM", "VALUE"), rows))
    return exits.OK


def _shown(value: Any) -> Any:
    """The value without credentials: the address of ZooKeeper or of a database may hold a password."""
    return without_credentials(value) if isinstance(value, str) and "://" in value else value
