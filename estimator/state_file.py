"""Files in the state folder.  Each is replaced as a whole, so that a reader finds the old content or the new."""

from __future__ import annotations

import os
from pathlib import Path


def replace_file(path: Path, content: bytes, *, synced: bool) -> None:
    """With `synced`, waits for the disk, and the content then outlasts even a power cut.  Raises OSError."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(content)
        if synced:
            file.flush()
            os.fsync(file.fileno())
    beside.replace(path)
    if synced:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
