"""Sums that the kernel keeps over the threads of a process: one question a process, over a netlink socket.

Source: Linux ``Documentation/accounting/taskstats.rst``, ``include/uapi/linux/taskstats.h``, and
``netlink.h`` and ``genetlink.h`` beside it.
"""

from __future__ import annotations

import errno
import os
import socket
import struct

_NETLINK_GENERIC = 16
_HEADER = struct.Struct("=IHHIIBBH")  # nlmsghdr and genlmsghdr.
_ATTRIBUTE = struct.Struct("=HH")  # Length with this head, type.
_ERROR = struct.Struct("=i")
_BODY_AT = _HEADER.size
_ERROR_AT = 16  # Where genlmsghdr would be.
_NLMSG_ERROR, _NLM_F_REQUEST = 2, 1
_ANSWER_BYTES = 1 << 14
# genetlink.h: asks the control family, whose id is fixed, for the id of the family of a given name.
_CONTROL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_ID, _CTRL_ATTR_FAMILY_NAME = 16, 3, 1, 2
# taskstats.h
_TASKSTATS_CMD_GET, _CMD_ATTR_TGID = 1, 2
_TYPE_STATS, _TYPE_AGGR_TGID = 3, 5
# cpu_count and cpu_delay_total of struct taskstats: at the same place in every version.
_CPU_DELAY = struct.Struct("=16xQQ")
_TGID, _FAMILY = struct.Struct("=I"), struct.Struct("=H")


class Taskstats:
    """Used by one thread.  The answer is there as soon as the question is sent: reading it does not wait.

    Raises:
        OSError: this kernel has no taskstats (CONFIG_TASKSTATS), or answers only root (CAP_NET_ADMIN)
            outside of containers.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_GENERIC)
        try:
            self._socket.setblocking(False)
            self._socket.bind((0, 0))
            name = _attribute(_CTRL_ATTR_FAMILY_NAME, b"TASKSTATS\0")
            family = self._ask(_CONTROL, _CTRL_CMD_GETFAMILY, name)
            begin, end = _found(family, _BODY_AT, len(family), _CTRL_ATTR_FAMILY_ID)
            (self._family,) = _FAMILY.unpack(family[begin:end])
            # All answers of one kernel have the same layout: it is enough to find the numbers once.
            answer = self._about(os.getpid())
            self._answer_bytes = len(answer)
            self._stats_at = _found(answer, *_found(answer, _BODY_AT, len(answer), _TYPE_AGGR_TGID), _TYPE_STATS)[0]
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def run_delay_s(self, pid: int) -> float:
        """How long all threads that the process has and had were ready to run and did not.

        Raises:
            ProcessLookupError: the process has ended.
            OSError: the kernel does not tell.
        """
        answer = self._about(pid)
        if len(answer) != self._answer_bytes:
            raise OSError(errno.EPROTO, f"an answer of {len(answer)} bytes in place of {self._answer_bytes}")
        _count, delay_ns = _CPU_DELAY.unpack_from(answer, self._stats_at)
        return float(delay_ns) / 1e9

    def _about(self, pid: int) -> bytes:
        return self._ask(self._family, _TASKSTATS_CMD_GET, _attribute(_CMD_ATTR_TGID, _TGID.pack(pid)))

    def _ask(self, family: int, command: int, attribute: bytes) -> bytes:
        """The answer, with its headers."""
        header = _HEADER.pack(_BODY_AT + len(attribute), family, _NLM_F_REQUEST, 0, 0, command, 1, 0)
        # By the file descriptor: under gevent the socket's own methods take longer than the kernel.
        descriptor = self._socket.fileno()
        os.write(descriptor, header + attribute)
        answer = os.read(descriptor, _ANSWER_BYTES)
        if _HEADER.unpack_from(answer)[1] == _NLMSG_ERROR:
            (number,) = _ERROR.unpack_from(answer, _ERROR_AT)
            raise OSError(-number, os.strerror(-number))  # For ESRCH this makes a ProcessLookupError.
        return answer


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _found(packed: bytes, at: int, end: int, wanted: int) -> tuple[int, int]:
    """Where the value of attribute `wanted`, among those between `at` and `end`, begins and ends."""
    while at + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(packed, at)
        if length < _ATTRIBUTE.size:
            break
        if kind & 0x3FFF == wanted:  # Without the flag bits.
            return at + _ATTRIBUTE.size, at + length
        at += (length + 3) & ~3
    raise OSError(errno.EPROTO, f"an answer without attribute {wanted}")
