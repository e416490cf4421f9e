"""The runtime file: where `serenity local` tells the command line and the demo what it has started.

``<run dir>/local.json``, one JSON object, written whole and renamed into place; removed
when `serenity local` ends.  A file whose process is gone does not count.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from serenity.wire.transport.undecodable import UNDECODABLE

NAME = "local.json"


class RuntimeFile(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses as ``http://host:port`` or ``unix:/path``; `pid` is that of `serenity local` itself."""

    url: str  # The framework's API.
    master: str
    agent: str
    pid: int

    @property
    def alive(self) -> bool:
        """Whether the process that wrote it still runs."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True  # It runs, as another user.
        return True


def path_in(run_dir: Path) -> Path:
    return run_dir / NAME


def write(run_dir: Path, content: RuntimeFile) -> Path:
    """Makes `run_dir` (mode 0700) if need be.  Raises OSError."""
    run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = path_in(run_dir)
    new = path.with_suffix(f".{os.getpid()}")
    new.write_bytes(msgspec.json.encode(content) + b"\n")
    new.replace(path)
    return path


def read(run_dir: Path) -> RuntimeFile | None:
    """None if there is no runtime file that this process can read."""
    try:
        return msgspec.json.decode(path_in(run_dir).read_bytes(), type=RuntimeFile)
    except (OSError, *UNDECODABLE):
        return None  # Not there, not readable for this user, or not a runtime file: the same to a client.
