"""Sockets in the network namespace of another process (setns(2))."""

from __future__ import annotations

import ctypes
import os
import socket

_CLONE_NEWNET = 0x4000_0000
_libc = ctypes.CDLL(None, use_errno=True)


def has_own(pid: int) -> bool:
    """Whether the process is in a network that is neither ours nor the machine's.

    Raises:
        OSError: the process is gone.
    """
    return _network(str(pid)) not in _shared()


def socket_of(pid: int, family: socket.AddressFamily) -> socket.socket:
    """A TCP socket in the network of `pid`, which must be the process's own (see `has_own`).  Needs CAP_SYS_ADMIN.

    This thread is in that network only while it makes the socket, and yields to no greenlet meanwhile.

    Raises:
        OSError: the process is gone; it has no network of its own (the pid is another process's now); or we may not.
    """
    shared = _shared()
    ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        theirs = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(theirs)
        finally:
            os.close(theirs)
        try:
            if _network("thread-self") in shared:
                raise ProcessLookupError(f"process {pid} is not in a network of its own any more")
            return socket.socket(family, socket.SOCK_STREAM)
        finally:
            _enter(ours)  # Cannot fail: the file is open, and we had the right a moment ago.
    finally:
        os.close(ours)


def _shared() -> set[int]:
    """Our network, and that of the machine's services: they differ if we run in a container."""
    return {_network("thread-self"), _network("1")}


def _network(process: str) -> int:
    """An inode that identifies the network: each has its own files below /proc/PID/net, which anyone may see."""
    return os.stat(f"/proc/{process}/net/dev").st_ino


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
