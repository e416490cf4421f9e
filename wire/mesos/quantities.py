"""Amounts as people and Mesos write them: ``512M``, ``2h``, ``5secs``."""

from __future__ import annotations

import math
import re

_MEM_UNITS = {"": 1 << 20, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_DURATION_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_MESOS_UNITS_S = {
    "ns": 1e-9,
    "us": 1e-6,
    "ms": 1e-3,
    "secs": 1.0,
    "mins": 60.0,
    "hrs": 3600.0,
    "days": 86400.0,
    "weeks": 604800.0,
}


def parse_mem_bytes(text: str) -> int:
    """``512M``, ``1.5G``, ``512MiB``; a bare number is MiB, as everywhere in Mesos.  Powers of two.

    Raises:
        ValueError: in words for the user.
    """
    match = re.fullmatch(r"\s*(\d{1,18}(?:\.\d+)?)\s*(?:([KMGT])(?:i?B)?)?\s*", text, re.IGNORECASE)
    if not match:
        raise ValueError(f"{text!r} is no amount of memory; write such as 512M or 2G")
    return round(float(match[1]) * _MEM_UNITS[(match[2] or "").upper()])


def parse_duration_s(text: str) -> float:
    """``90``, ``90s``, ``10m``, ``2h``, ``1h30m``: seconds.

    Raises:
        ValueError: in words for the user.
    """
    if re.fullmatch(r"\s*\d{1,18}(?:\.\d+)?\s*", text):
        return float(text)
    parts = re.findall(r"(\d{1,18}(?:\.\d+)?)(ms|[smhdw])", text)
    if not parts or "".join(amount + unit for amount, unit in parts) != text.strip():
        raise ValueError(f"{text!r} is no duration; write such as 30s, 10m or 2h")
    return sum(float(amount) * _DURATION_UNITS_S[unit] for amount, unit in parts)


def parse_mesos_duration_s(text: str) -> float:
    """Mesos' own spelling (``stout/duration.hpp``): ``5secs``, ``15mins``.

    Raises:
        ValueError
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]+)", text.strip())
    if not match or match[2] not in _MESOS_UNITS_S:
        raise ValueError(f"{text!r} is no Mesos duration")
    return float(match[1]) * _MESOS_UNITS_S[match[2]]


def format_mem(mem_bytes: float) -> str:
    """``512M``, ``1.5G``."""
    for unit in ("T", "G", "M", "K"):
        if mem_bytes >= _MEM_UNITS[unit]:
            amount = mem_bytes / _MEM_UNITS[unit]
            return f"{amount:.0f}{unit}" if amount >= 100 else f"{amount:.3g}{unit}"
    return f"{mem_bytes:.0f}B"


def format_duration(duration_s: float) -> str:
    """``2h05m``, ``3m20s``, ``45s``, ``0.8s``: two units at most, for tables."""
    if duration_s < 0 or not math.isfinite(duration_s):
        return "-"
    if duration_s < 10:
        return f"{duration_s:.1f}s"
    seconds = round(duration_s)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m{seconds % 60:02d}s"
    if seconds < 86400:
        return f"{seconds // 3600}h{seconds % 3600 // 60:02d}m"
    return f"{seconds // 86400}d{seconds % 86400 // 3600:02d}h"
