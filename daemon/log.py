"""One log format for all daemons: time, level, module, message; one line an entry, on stderr."""

from __future__ import annotations

import logging
import sys


def set_up(verbose: bool = False) -> None:
    """Configures the root logger of a process.  Called once, by its entry module."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
        force=True,
    )
    logging.getLogger("kazoo").setLevel(logging.WARNING)
