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
        OSError: it is gone.
    """
    return _network(str(pid)) not in _shared()


def socket_of(pid: int, family: socket.AddressFamily) -> socket.socket:
    """A TCP socket in the network of `pid`, which must be its own as `has_own` says.  Needs CAP_SYS_ADMIN.

    This thread is there only for as long as it takes to make the socket, and does not give up
    the CPU to a greenlet meanwhile.

    Raises:
        OSError: it is gone, it has no network of its own (another process has got the pid), or we may not.
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
            _enter(ours)  # Cannot fail: we hold it, and had the right a moment ago.
    finally:
        os.close(ours)


def _shared() -> set[int]:
    """Ours, and the one that the machine's services are in: they differ where we run in a container."""
    return {_network("thread-self"), _network("1")}


def _network(process: str) -> int:
    """What tells networks apart: each has files of its own below /proc/PID/net, for anyone to see."""
    return os.stat(f"/proc/{process}/net/dev").st_ino


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
