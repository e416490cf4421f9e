"""The files that security hangs on: certificates, keys, secrets.  Each is named by a setting, and so are its errors."""

from __future__ import annotations

import stat
from pathlib import Path


class UnusableFile(ValueError):  # noqa: N818 - reads as what it says
    """The text names setting and file, and what to do; never what is in the file."""


def read(setting: str, path: str) -> bytes:
    """Raises UnusableFile."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UnusableFile(f"{setting}: cannot read {path}: {error.strerror}") from error


def read_private(setting: str, path: str) -> bytes:
    """As `read`; warns of a file that others than its owner can get at."""
    content = read(setting, path)
    mode = stat.S_IMODE(Path(path).stat().st_mode)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        import logging  # Only now: the command line has 150 ms to start.

        text = "%s: %s is open to others than its owner (mode %04o); chmod 600 it"
        logging.getLogger(__name__).warning(text, setting, path, mode)
    return content
