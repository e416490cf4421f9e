"""Values that the kernel lets us change, in the files of cgroups and resctrl; each kind of file has a grammar.

Sources: Linux ``Documentation/admin-guide/cgroup-v1/``, ``cgroup-v2.rst`` and ``filesystems/resctrl.rst``.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_GONE = (errno.ENOENT, errno.ENODEV)


@dataclass(frozen=True, slots=True)
class Knob:
    """One value.  `key` tells which, in a file that holds several: a device, a cache."""

    file: Path
    key: str = ""

    def __str__(self) -> str:
        return f"{self.file} {self.key}".rstrip()


class KernelFiles:
    """The kernel.  Tests derive kernels from it that this machine does not have.

    Every method raises OSError when the kernel refuses, FileNotFoundError when the cgroup or class is gone.
    """

    def read(self, file: Path) -> str:
        try:
            return file.read_text()
        except OSError as error:
            raise _told(error, file) from error

    def write(self, file: Path, text: str) -> None:
        """In one call, as these files want it; never makes a file."""
        try:
            handle = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(handle, text.encode())
            finally:
                os.close(handle)
        except OSError as error:
            raise _told(error, file) from error

    def make(self, folder: Path) -> None:
        folder.mkdir()

    def remove(self, folder: Path) -> None:
        folder.rmdir()

    def value(self, knob: Knob) -> str:
        """In one spelling, however the kernel pads it."""
        text = self.read(knob.file)
        try:
            return _GRAMMARS[knob.file.name].find(text, knob.key)
        except (ValueError, LookupError):
            raise OSError(errno.EBADMSG, "not written as this version knows it", str(knob)) from None

    def set(self, knob: Knob, value: str) -> None:
        self.write(knob.file, _GRAMMARS[knob.file.name].line(knob.key, value) + "\n")


def is_known(knob: Knob) -> bool:
    """Whether it is a kind of knob that we ever change."""
    return knob.file.name in _GRAMMARS


class _Grammar(Protocol):
    def find(self, text: str, key: str) -> str: ...
    def line(self, key: str, value: str) -> str: ...


class _Whole:
    """The file is the value."""

    def find(self, text: str, key: str) -> str:
        return text.strip()

    def line(self, key: str, value: str) -> str:
        return value


class _FreezerState(_Whole):
    def find(self, text: str, key: str) -> str:
        return "THAWED" if text.strip() == "THAWED" else "FROZEN"  # FREEZING: on the way, and was told to.


class _DeviceRates:
    """v1's ``blkio.throttle.*``: a line for each device that has a limit; 0 is none."""

    def find(self, text: str, key: str) -> str:
        return next((value for device, value in map(str.split, text.splitlines()) if device == key), "0")

    def line(self, key: str, value: str) -> str:
        return f"{key} {value}"


class _DeviceFields:
    """v2's ``io.max``: a line of named fields for each device that has a limit.  Key: ``8:0 rbps``."""

    def find(self, text: str, key: str) -> str:
        device, field = key.split()
        line = next((each for each in text.splitlines() if each.split()[0] == device), "")
        return dict(pair.split("=", 1) for pair in line.split()[1:]).get(field, "max")

    def line(self, key: str, value: str) -> str:
        return f"{key}={value}"


class _Schemata:
    """A line for each resource with a value for each domain, padded: ``    L3:0=0ff;1=fff``.  Key: ``L3:0``."""

    def find(self, text: str, key: str) -> str:
        resource, domain = key.split(":")
        for line in text.splitlines():
            name, _, values = line.strip().partition(":")
            if name == resource:
                found = dict(each.split("=", 1) for each in values.split(";"))[domain].strip()
                return found if name == "MB" else f"{int(found, 16):x}"
        raise KeyError(key)

    def line(self, key: str, value: str) -> str:
        return f"{key}={value}"


_WHOLE = _Whole()
_GRAMMARS: dict[str, _Grammar] = {
    "cpu.cfs_quota_us": _WHOLE,
    "cpu.max": _WHOLE,
    "cpu.idle": _WHOLE,
    "cpu.shares": _WHOLE,
    "cpu.weight": _WHOLE,
    "cpuset.cpus": _WHOLE,
    "freezer.state": _FreezerState(),
    "cgroup.freeze": _WHOLE,
    "blkio.throttle.read_bps_device": _DeviceRates(),
    "blkio.throttle.write_bps_device": _DeviceRates(),
    "io.max": _DeviceFields(),
    "schemata": _Schemata(),
}


def _told(error: OSError, file: Path) -> OSError:
    """A file of a cgroup that was removed meanwhile answers ENODEV; and errors of writes do not name their file."""
    kind = FileNotFoundError if error.errno in _GONE else type(error)
    return kind(error.errno, error.strerror, str(file))
