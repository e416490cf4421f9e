"""`serenity framework`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from serenity.cli.daemon_process import daemon_command
from serenity.cli.failure import Failure
from serenity.daemon import exits


def check_executor_table(arguments: Sequence[str] = (), environ: Mapping[str, str] = os.environ) -> None:
    """Raises Failure for settings with which every executor would end as it starts, and every job with it.

    The framework hands ``[executor]`` on without knowing its keys; only here are both at hand.
    """
    import argparse

    from serenity.daemon.settings import SettingsError, resolve
    from serenity.executor.settings import ExecutorSettings

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config", type=Path)
    for flag in ("--help", "-h", "--teardown"):  # They start no executor.
        parser.add_argument(flag, dest="other", action="store_true")
    try:
        given, _ = parser.parse_known_args(arguments)
    except argparse.ArgumentError:
        return  # The framework itself says what is wrong.
    if given.other:
        return
    try:
        resolve(ExecutorSettings, "executor", {}, environ, given.config)
    except SettingsError as error:
        raise Failure(str(error), exits.USAGE) from None


command = daemon_command("framework", check_executor_table)
