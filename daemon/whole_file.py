"""Files that are replaced as a whole, so that a reader finds the old content or the new."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def replace_file(path: Path, content: bytes, *, synced: bool) -> None:
    """For its owner alone.  With `synced`, waits for the disk, and the content then outlasts even a power cut.

    Raises OSError, also where there is no room for all of it; then the old content is still there.
    """
    beside = path.with_name(path.name + ".new")
    file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if os.write(file, content) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(beside))
        if synced:
            os.fsync(file)
    finally:
        os.close(file)
    beside.replace(path)
    if synced:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
