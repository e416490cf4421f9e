"""One log format for all daemons: time, level, module, message; one line an entry, on stderr."""

from __future__ import annotations

import logging
import re
import sys
import textwrap
from typing import Any

_FORMAT = "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s: %(message)s"
# Characters that end a line for some reader, or control a terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


def set_up(verbose: bool = False) -> None:
    """Configures the root logger of a process.  Called once, by its entry module."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(_FORMAT, datefmt="%Y-%m-%dT%H:%M:%S"))
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True)
    logging.getLogger("kazoo").setLevel(logging.WARNING)


class _OneLine(logging.Formatter):
    """Keeps a message on one line: it may hold others' text (a lease's reason, an executor's name), which must not be
    able to begin an entry of its own.

    A traceback follows on further lines, indented because its last lines are an error's message.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return _CONTROL.sub(lambda found: repr(found[0])[1:-1], super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return textwrap.indent(super().formatException(ei), "  ")
