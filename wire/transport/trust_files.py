"""The files that security hangs on: certificates, keys, secrets.  Each is named by a setting, and so are its errors."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class UnusableFile(ValueError):  # noqa: N818 - reads as what it says
    """The text names setting and file, and what to do; never what is in the file."""


def read(setting: str, path: str) -> bytes:
    """Raises UnusableFile."""
    return _read(setting, path)[0]


def read_private(setting: str, path: str) -> bytes:
    """As `read`; warns of a file that others than its owner can get at."""
    content, mode = _read(setting, path)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        import logging  # Only now: the command line has 150 ms to start.

        text = "%s: %s is open to others than its owner (mode %04o); chmod 600 it"
        logging.getLogger(__name__).warning(text, setting, path, mode)
    return content


def _read(setting: str, path: str) -> tuple[bytes, int]:
    """With its mode, asked of the open file: by its name another may be found by then, or none."""
    try:
        with Path(path).open("rb") as file:
            return file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except OSError as error:
        raise UnusableFile(f"{setting}: cannot read {path}: {error.strerror}") from error
