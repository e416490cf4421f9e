"""perf_event_open(2): a group of counters for one cgroup on one CPU."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from serenity.qos.sources.perf_encoding import ATTR, Encoding

_SYSCALLS = {
    "x86_64": 298, "aarch64": 241, "riscv64": 241, "loongarch64": 241, "i686": 336,
    "armv7l": 364, "ppc64le": 319, "ppc64": 319, "s390x": 331,
}  # fmt: skip
_PID_CGROUP = 1 << 2  # The pid is an open cgroup folder.
_CLOSE_ON_EXEC = 1 << 3
_ENABLED, _RUNNING, _GROUP = 1 << 0, 1 << 1, 1 << 3  # PERF_FORMAT_*
_SIZE_WITHOUT_CONFIG2 = 64  # PERF_ATTR_SIZE_VER0, which every kernel takes.


class Kernel(Protocol):
    """The system calls.  Each raises OSError with the kernel's errno."""

    def open(self, event: Encoding, pid: int, cpu: int, leader: int, flags: int) -> int: ...

    def read(self, counter: int, size: int) -> bytes: ...

    def close(self, counter: int) -> None: ...


class LinuxKernel:
    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._number = _SYSCALLS.get(platform.machine())

    def open(self, event: Encoding, pid: int, cpu: int, leader: int, flags: int) -> int:
        if self._number is None:
            raise OSError(errno.ENOSYS, f"the number of perf_event_open on {platform.machine()} is not known")
        size = ATTR.size if event.config2 else _SIZE_WITHOUT_CONFIG2
        attr = ATTR.pack(
            *(event.type, size, event.config, 0, 0, _ENABLED | _RUNNING | _GROUP, event.flags, 0, 0),
            *(event.config1, event.config2),
        )
        numbers = map(ctypes.c_long, (pid, cpu, leader, flags | _CLOSE_ON_EXEC))
        counter: int = self._libc.syscall(ctypes.c_long(self._number), attr, *numbers)
        if counter < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return counter

    def read(self, counter: int, size: int) -> bytes:
        return os.read(counter, size)

    def close(self, counter: int) -> None:
        os.close(counter)


@dataclass(frozen=True, slots=True)
class Counts:
    """A group's counters since it was opened.  Times are seconds in which the cgroup was on the CPU.

    `running_s` is less than `enabled_s` where more events shared the PMU than it can hold: the
    counts are then of `running_s` only.
    """

    enabled_s: float
    running_s: float
    values: tuple[int, ...]


class Group:
    """Counters that are counted together or not at all; the first leads.  They count from when they are opened."""

    def __init__(self, kernel: Kernel, events: Sequence[Encoding], pid: int, cpu: int, flags: int = 0) -> None:
        """Raises OSError; nothing is left open then."""
        self._kernel = kernel
        self._counters: list[int] = []
        self._layout = struct.Struct(f"=3Q{len(events)}Q")  # How many, enabled, running, the counts.
        try:
            for event in events:
                leader = self._counters[0] if self._counters else -1
                self._counters.append(kernel.open(event, pid, cpu, leader, flags))
        except BaseException:
            self.close()
            raise

    @classmethod
    def of_cgroup(cls, kernel: Kernel, events: Sequence[Encoding], folder: Path, cpu: int) -> Group:
        cgroup = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return cls(kernel, events, cgroup, cpu, _PID_CGROUP)
        finally:
            os.close(cgroup)

    @classmethod
    def of_cpu(cls, kernel: Kernel, events: Sequence[Encoding], cpu: int) -> Group:
        """Counts all that runs on that CPU."""
        return cls(kernel, events, -1, cpu)

    def __len__(self) -> int:
        return len(self._counters)

    def read(self) -> Counts:
        """Raises OSError, also when the kernel has given up the group, which then reads as empty."""
        _number, enabled_ns, running_ns, *values = self._layout.unpack(self.read_packed())
        return Counts(enabled_ns / 1e9, running_ns / 1e9, tuple(values))

    def read_packed(self) -> bytes:
        """As 64-bit integers: how many counters, ns enabled, ns running, the counts.  Raises as `read` does."""
        read = self._kernel.read(self._counters[0], self._layout.size)
        if len(read) < self._layout.size:
            raise OSError(errno.ENODEV, "the kernel has given up counting")
        return read

    def close(self) -> None:
        while self._counters:
            self._kernel.close(self._counters.pop())
