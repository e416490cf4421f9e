"""Where what must survive a restart is kept."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def default_state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """/var/lib/serenity as root, else the user's own: never below a folder that everybody may write to."""
    if os.geteuid() == 0:
        return Path("/var/lib/serenity")
    return Path(environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()) / "serenity"
