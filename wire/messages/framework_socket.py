"""Where a framework's Unix socket is, by which it knows who calls it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from serenity.wire.messages.node import run_dir

# Beside the node's run directory, and not in it: that one is root's alone, and everybody may call a framework.
_SYSTEM = Path("/run/serenity-framework.sock")
_NAME = "framework.sock"


def default_socket(environ: Mapping[str, str] = os.environ) -> Path:
    """Where a framework that this user starts listens."""
    if os.geteuid() == 0 and not environ.get("SERENITY_RUN_DIR"):
        return _SYSTEM
    return run_dir(environ) / _NAME


def running_socket(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The socket of a framework of this user's, else of the system's; of nobody else's, whoever has put it there."""
    for path in dict.fromkeys((default_socket(environ), _SYSTEM)):
        try:
            found = path.stat()
        except OSError:
            continue
        if path.is_socket() and found.st_uid in (0, os.geteuid()):
            return path
    return None
