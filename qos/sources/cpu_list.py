"""Lists of CPUs, as the kernel writes them."""

from __future__ import annotations


def parse_cpus(text: str) -> list[int]:
    """``0-3,8``.  Raises ValueError."""
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        cpus += range(int(first), int(last or first) + 1)
    return cpus
