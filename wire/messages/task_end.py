"""How an attempt ended, as measured: what its executor reports in the labels of the last update."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

_EXIT_CODE = "serenity.exit_code"
_SIGNAL = "serenity.signal"
_CPU_S = "serenity.cpu_s"
_PEAK_MEM_BYTES = "serenity.peak_mem_bytes"


class TaskEnd(msgspec.Struct, frozen=True, kw_only=True):
    """`exit_code` or `signal` of the command's first process: one of the two is None, or both if it never ran.

    If the task had a cgroup of its own, `cpu_s` and `peak_mem_bytes` are of all its processes (memory with page cache,
    as the limit counts it).  Else `cpu_s` is of the first process and the children that it waited for, and
    `peak_mem_bytes` the most that was seen.
    """

    exit_code: int | None = None
    signal: int | None = None
    cpu_s: float | None = None
    peak_mem_bytes: int | None = None

    def to_labels(self) -> dict[str, str]:
        labels = {
            _EXIT_CODE: self.exit_code,
            _SIGNAL: self.signal,
            _CPU_S: None if self.cpu_s is None else f"{self.cpu_s:.3f}",
            _PEAK_MEM_BYTES: self.peak_mem_bytes,
        }
        return {key: str(value) for key, value in labels.items() if value is not None}

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> TaskEnd | None:
        """None if no label is there.  Values that make no sense are left out: they are for show only."""
        found = cls(
            exit_code=_whole(labels.get(_EXIT_CODE)),
            signal=_whole(labels.get(_SIGNAL)),
            cpu_s=_seconds(labels.get(_CPU_S)),
            peak_mem_bytes=_whole(labels.get(_PEAK_MEM_BYTES)),
        )
        return found if found != cls() else None


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdecimal() and len(text) < 20 else None


def _seconds(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
