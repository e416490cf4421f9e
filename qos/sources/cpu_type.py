"""The type of this CPU: cycles per instruction on one type say nothing about another type."""

from __future__ import annotations

import platform
import re
from pathlib import Path

# x86, and ARM where it has a name; else implementer and part, which identify an ARM core.
_NAMED = re.compile(r"^(?:model name|Model|cpu model|cpu)\s*:\s*(.+)$", re.MULTILINE)
_PART = re.compile(r"^CPU (?:implementer|part)\s*:\s*(\S+)$", re.MULTILINE)


def cpu_type(proc: Path = Path("/proc")) -> str:
    """Such as ``Intel(R) Xeon(R) Gold 6154 CPU @ 3.00GHz``; the architecture where nothing more is known."""
    try:
        text = (proc / "cpuinfo").read_text(errors="replace")
    except OSError:
        return platform.machine()
    named = _NAMED.search(text)
    if named is not None:
        return " ".join(named[1].split())
    return " ".join([platform.machine(), *_PART.findall(text)[:2]])
