"""Secrets that come in the environment, and must not stay there."""

from __future__ import annotations

import ctypes
import os
from collections.abc import MutableMapping


def take_secret(environ: MutableMapping[str, str], name: str) -> str | None:
    """The variable's value, which no child inherits any more; None if it is not set.

    Of our own environment it is also overwritten where the kernel has put it: for as long as we
    live `/proc/PID/environ` shows that place to all processes of our user, whatever was unset.
    Mesos' own executors do the same (stout's ``os::eraseenv``).
    """
    secret = environ.get(name)
    if secret is not None:
        if environ is os.environ:
            _overwrite(name)
        del environ[name]
    return secret


def _overwrite(name: str) -> None:
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    address = libc.getenv(os.fsencode(name))
    if address is not None:
        ctypes.memset(address, 0, len(ctypes.string_at(address)))
