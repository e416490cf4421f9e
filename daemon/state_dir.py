"""Where state that must survive a restart is kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def default_state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """/var/lib/serenity as root or without a home, else a folder of the user's: never one where everybody may write."""
    own = environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    if os.geteuid() == 0 or own.startswith("~"):
        return Path("/var/lib/serenity")
    return Path(own) / "serenity"
