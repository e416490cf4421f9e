"""Pressure stall information (PSI): the share of time in which somebody waited.

Source: Linux ``Documentation/accounting/psi.rst``; the line ``some`` and its running total.
"""

from __future__ import annotations

import re
from pathlib import Path

RESOURCES = ("cpu", "memory", "io")
_SOME_TOTAL = re.compile(r"^some .*\btotal=(\d+)", re.MULTILINE)


def stalled_s(file: Path) -> float:
    """Seconds, since boot, in which some task waited.

    Raises:
        OSError: no such file, or PSI is disabled.
        ValueError: it is no pressure file.
    """
    match = _SOME_TOTAL.search(file.read_text())
    if match is None:
        raise ValueError(f"{file} has no total")
    return int(match[1]) / 1e6
