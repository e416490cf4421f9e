"""Where a framework's Unix socket is, on which the framework knows its callers' uids."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from serenity.wire.messages.node import run_dir

# Beside the node's run directory, not in it: only root may enter that, and everybody may call a framework.
_SYSTEM = Path("/run/serenity-framework.sock")
_NAME = "framework.sock"


def default_socket(environ: Mapping[str, str] = os.environ) -> Path:
    """The socket on which a framework started by this user listens."""
    if os.geteuid() == 0 and not environ.get("SERENITY_RUN_DIR"):
        return _SYSTEM
    return run_dir(environ) / _NAME


def running_socket(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The socket of this user's framework, else the system's.  One that belongs to any other user is ignored."""
    for path in dict.fromkeys((default_socket(environ), _SYSTEM)):
        try:
            found = path.stat()
        except OSError:
            continue
        if path.is_socket() and found.st_uid in (0, os.geteuid()):
            return path
    return None
