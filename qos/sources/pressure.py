"""Pressure stall information (PSI): the share of time in which some task waited.

Source: Linux ``Documentation/accounting/psi.rst``; the line ``some`` and its running total.
"""

from __future__ import annotations

RESOURCES = ("cpu", "memory", "io")
_TOTAL = b" total="


def stalled_s(text: bytes) -> float:
    """Seconds in which some task waited, by a pressure file's running total.  Raises ValueError: it is no such file."""
    at = text.find(_TOTAL)
    if at < 0 or not text.startswith(b"some "):
        raise ValueError("it is no pressure file")
    return number(text, at + len(_TOTAL)) / 1e6


def number(text: bytes, at: int) -> int:
    """The number from position `at` to the end of the line.  Raises ValueError."""
    end = text.find(b"\n", at)
    return int(text[at:] if end < 0 else text[at:end])
