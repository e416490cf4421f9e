"""Encodes names of hardware events as the numbers that perf_event_open(2) takes.

The names are libpfm4's.  They are encoded by its own Python binding, else by its C library,
else by a table of generic events, which the kernel maps to the processor's own events.
"""

from __future__ import annotations

import ctypes
import importlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_HARDWARE, _SOFTWARE, _CACHE = 0, 1, 3  # PERF_TYPE_*
_LL_READ_MISS = 0x1_0002  # PERF_COUNT_HW_CACHE_LL | _OP_READ << 8 | _RESULT_MISS << 16


@dataclass(frozen=True, slots=True)
class Encoding:
    """Fields of ``struct perf_event_attr`` by their names there."""

    type: int
    config: int
    config1: int = 0
    config2: int = 0
    flags: int = 0  # The bit field.


GENERIC = {
    "cycles": Encoding(_HARDWARE, 0),
    "instructions": Encoding(_HARDWARE, 1),
    "cache-misses": Encoding(_HARDWARE, 3),
    "stalled-cycles-frontend": Encoding(_HARDWARE, 7),
    "stalled-cycles-backend": Encoding(_HARDWARE, 8),
    "LLC-load-misses": Encoding(_CACHE, _LL_READ_MISS),
    "task-clock": Encoding(_SOFTWARE, 1),
    "context-switches": Encoding(_SOFTWARE, 3),
}

Encoder = Callable[[str], Encoding | None]

# struct perf_event_attr, as of its second version (config2), in native byte order:
# type, size, config, sample_period, sample_type, read_format, bit field, wakeup, bp_type, config1, config2
ATTR = struct.Struct("=IIQQQQQIIQQ")
# Room for the longer struct of a newer library.
_ATTR_ROOM = 512
# The bits of the bit field that an event's own modifiers set: exclude_user and exclude_kernel.
_MODIFIERS = 0b11_0000
_USER_AND_KERNEL = 0b1001  # PFM_PLM3 | PFM_PLM0
_LIBRARY = "libpfm.so.4"


def generic(name: str) -> Encoding | None:
    return GENERIC.get(name)


def encoder(binding: str = "perfmon", library: str = _LIBRARY) -> Encoder:
    """The best encoder on this machine; for names that it does not know, the table of generic events."""
    best = _by_binding(binding) or _by_library(library) or generic
    return lambda name: best(name) or generic(name)


def _by_binding(module: str) -> Encoder | None:
    """Encodes by libpfm4's module `perfmon`.  PyPI's `perfmon` is another module, and encodes nothing."""
    try:
        perfmon: Any = importlib.import_module(module)
    except ImportError:
        return None
    encode = getattr(perfmon, "pfm_get_perf_event_encoding", None)
    if encode is None or perfmon.pfm_initialize() != 0:
        return None

    def by_binding(name: str) -> Encoding | None:
        error, attr = encode(name, _USER_AND_KERNEL, None, None)
        if error:
            return None
        flags = bool(attr.exclude_user) << 4 | bool(attr.exclude_kernel) << 5
        return Encoding(attr.type, attr.config, attr.config1, attr.config2, flags)

    return by_binding


def _by_library(name: str) -> Encoder | None:
    try:
        pfm = ctypes.CDLL(name)
    except OSError:
        return None  # The library is not installed.
    if pfm.pfm_initialize() != 0:
        return None

    def by_library(event: str) -> Encoding | None:
        attr = ctypes.create_string_buffer(_ATTR_ROOM)
        if pfm.pfm_get_perf_event_encoding(event.encode(), _USER_AND_KERNEL, attr, None, None) != 0:
            return None
        kind, _size, config, _period, _sample, _format, flags, _wakeup, _bp, config1, config2 = ATTR.unpack_from(attr)
        return Encoding(kind, config, config1, config2, flags & _MODIFIERS)

    return by_library
