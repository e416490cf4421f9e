"""`serenity estimator`."""

from __future__ import annotations

from serenity.cli.daemon_process import daemon_command

command = daemon_command("estimator")
