"""Secrets that are passed in the environment, and must not stay there."""

from __future__ import annotations

import ctypes
import os
from collections.abc import MutableMapping


def take_secret(environ: MutableMapping[str, str], name: str) -> str | None:
    """Removes the variable, so that no child inherits it, and returns its value; None if it is not set.

    In this process's own environment the value is also overwritten in memory: even after the variable is unset,
    `/proc/PID/environ` shows that memory to all processes of our user for as long as we live.  Mesos' own executors do
    the same (stout's ``os::eraseenv``).
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
