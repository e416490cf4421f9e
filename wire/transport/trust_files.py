"""The files that security depends on: certificates, keys, secrets.  Errors name the setting that names the file."""

from __future__ import annotations

import os
import stat
from pathlib import Path


class UnusableFile(ValueError):  # noqa: N818 - reads as what it says
    """The text names setting, file and remedy, and never quotes the file."""


def read(setting: str, path: str) -> bytes:
    """Raises UnusableFile."""
    return _read(setting, path)[0]


def read_private(setting: str, path: str) -> bytes:
    """As `read`; logs a warning if others than its owner can access the file."""
    content, mode = _read(setting, path)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        import logging  # Only now: the command line has 150 ms to start.

        text = "%s: %s is open to others than its owner (mode %04o); chmod 600 it"
        logging.getLogger(__name__).warning(text, setting, path, mode)
    return content


def _read(setting: str, path: str) -> tuple[bytes, int]:
    """Content and mode.  The mode is the open file's: by then the name may lead to another file, or to none."""
    try:
        with Path(path).open("rb") as file:
            return file.read(), stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except OSError as error:
        raise UnusableFile(f"{setting}: cannot read {path}: {error.strerror}") from error
