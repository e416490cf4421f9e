"""What the kernel has added up over the threads of a process: one question each, over a netlink socket.

Source: Linux ``Documentation/accounting/taskstats.rst``, ``include/uapi/linux/taskstats.h``, and
``netlink.h`` and ``genetlink.h`` beside it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator

_NETLINK_GENERIC = 16
_HEADER = struct.Struct("=IHHII4x")  # nlmsghdr, and room for genlmsghdr.
_GENERIC = struct.Struct("=BBH")
_ATTRIBUTE = struct.Struct("=HH")  # Length with this head, type.
_ERROR = struct.Struct("=i")
_BODY_AT = _HEADER.size
_NLMSG_ERROR, _NLM_F_REQUEST = 2, 1
_ANSWER_BYTES = 1 << 14
# genetlink.h: who is called so, at the family that all know.
_CONTROL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_ID, _CTRL_ATTR_FAMILY_NAME = 16, 3, 1, 2
# taskstats.h
_TASKSTATS_CMD_GET, _CMD_ATTR_TGID = 1, 2
_TYPE_STATS, _TYPE_AGGR_TGID = 3, 5
# cpu_count and cpu_delay_total of struct taskstats, where they are in every version.
_CPU_DELAY = struct.Struct("=16xQQ")
_TGID, _FAMILY = struct.Struct("=I"), struct.Struct("=H")


class Taskstats:
    """Used by one thread.  An answer is there as soon as the question is sent: nobody waits.

    Raises:
        OSError: this kernel has none (CONFIG_TASKSTATS), or tells only root (CAP_NET_ADMIN)
            outside of containers.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC)
        try:
            self._socket.setblocking(False)
            self._socket.bind((0, 0))
            name = _attribute(_CTRL_ATTR_FAMILY_NAME, b"TASKSTATS\0")
            family = self._ask(_CONTROL, _CTRL_CMD_GETFAMILY, name)
            (self._family,) = _FAMILY.unpack(_found(family, _CTRL_ATTR_FAMILY_ID))
            self.run_delay_s(os.getpid())
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def run_delay_s(self, pid: int) -> float:
        """How long all threads that the process has and had were ready to run and did not.

        Raises:
            ProcessLookupError: it has ended.
            OSError: the kernel does not tell.
        """
        answer = self._ask(self._family, _TASKSTATS_CMD_GET, _attribute(_CMD_ATTR_TGID, _TGID.pack(pid)))
        _count, delay_ns = _CPU_DELAY.unpack_from(_found(_found(answer, _TYPE_AGGR_TGID), _TYPE_STATS))
        return float(delay_ns) / 1e9

    def _ask(self, family: int, command: int, attribute: bytes) -> bytes:
        """The answer's attributes."""
        length = _BODY_AT + len(attribute)
        question = bytearray(_HEADER.pack(length, family, _NLM_F_REQUEST, 0, 0) + attribute)
        _GENERIC.pack_into(question, _BODY_AT - _GENERIC.size, command, 1, 0)
        # Of the file, not of the socket: under gevent that one takes longer than the kernel.
        os.write(self._socket.fileno(), question)
        answer = os.read(self._socket.fileno(), _ANSWER_BYTES)
        kind = _HEADER.unpack_from(answer)[1]
        if kind == _NLMSG_ERROR:
            (number,) = _ERROR.unpack_from(answer, _BODY_AT - _GENERIC.size)
            raise OSError(-number, os.strerror(-number))  # Of ESRCH Python makes a ProcessLookupError.
        return answer[_BODY_AT:]


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _found(attributes: bytes, kind: int) -> bytes:
    for each, value in _attributes(attributes):
        if each == kind:
            return value
    raise OSError(errno.EPROTO, f"an answer without attribute {kind}")


def _attributes(packed: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(packed):
        length, kind = _ATTRIBUTE.unpack_from(packed, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, packed[at + _ATTRIBUTE.size : at + length]  # Without the flags of nested ones.
        at += (length + 3) & ~3
