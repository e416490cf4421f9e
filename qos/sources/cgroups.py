"""Which cgroups are a container's own, in v1 hierarchies, in v2, and with both mounted at once."""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# The key of the v2 hierarchy, as in /proc/PID/cgroup, where its list of controllers is empty.
V2 = ""
_ESCAPED = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mounts:
    """For each v1 controller and v2: where it is mounted, and which folder of the hierarchy the mount shows."""

    points: Mapping[str, tuple[Path, str]]

    @classmethod
    def read(cls, proc: Path = Path("/proc")) -> Mounts:
        """Raises OSError when there is no /proc."""
        return cls.parse((proc / "self/mountinfo").read_bytes())

    @classmethod
    def parse(cls, mountinfo: bytes) -> Mounts:
        """Reads proc(5) ``/proc/PID/mountinfo``; if a hierarchy is mounted several times the first mount counts."""
        points: dict[str, tuple[Path, str]] = {}
        for line in filter(None, mountinfo.split(b"\n")):
            before, _, after = line.partition(b" - ")
            root, point = map(_name, before.split(b" ")[3:5])
            kind, _source, options = after.split(b" ", 2)
            if kind == b"cgroup2":
                points.setdefault(V2, (Path(point), root))
            elif kind == b"cgroup":
                for controller in options.decode("ascii", "replace").split(","):
                    if controller not in ("rw", "ro"):
                        points.setdefault(controller, (Path(point), root))
        return cls(points)

    def folder(self, controller: str, path: str) -> Path | None:
        """The folder of cgroup `path`; None when this machine does not mount or show it."""
        if controller not in self.points:
            return None
        point, root = self.points[controller]
        top = root.rstrip("/")
        return point / path.removeprefix(top).lstrip("/") if f"{path}/".startswith(f"{top}/") else None


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A container's own folders: by v1 controller, and `V2`.  Empty: it has none of its own."""

    folders: Mapping[str, Path] = field(default_factory=dict)

    def folder(self, *controllers: str) -> Path | None:
        """The container's folder of the first of these controllers that has one."""
        return next((self.folders[each] for each in controllers if each in self.folders), None)

    @property
    def any_folder(self) -> tuple[str, Path]:
        """One folder, and its hierarchy: a process of the container is in each of them."""
        return next(iter(self.folders.items()))

    def __bool__(self) -> bool:
        return bool(self.folders)


def memberships(proc_cgroup: bytes) -> dict[str, str]:
    """``/proc/PID/cgroup`` as controller → path; v2 under `V2`.  A cgroup's name need not be text."""
    paths = {}
    for line in filter(None, proc_cgroup.split(b"\n")):
        _number, controllers, path = line.split(b":", 2)
        for controller in controllers.decode("ascii", "replace").split(","):
            paths[controller] = os.fsdecode(path)
    return paths


def own_path(path: str, container_id: str) -> str | None:
    """The part of `path` down to the folder named for the container.

    None when no folder is: the process is then in a cgroup that it shares with others (the root,
    a login session, the agent's service), whose counters say nothing about the container.
    """
    parts = path.split("/")
    if container_id not in parts:
        return None
    return "/".join(parts[: parts.index(container_id) + 1])


def of_process(
    mounts: Mounts, pid: int, container_id: str, proc: Path = Path("/proc"), *, whole: bool = False
) -> Cgroup:
    """The cgroups of the container that process `pid` is in.

    `whole`: all cgroups of the process but the root are the container's, whatever their names, as
    Docker makes them.

    Raises:
        OSError: the process is gone.
    """
    folders = {}
    for controller, path in memberships((proc / str(pid) / "cgroup").read_bytes()).items():
        own = (path if path != "/" else None) if whole else own_path(path, container_id)
        folder = mounts.folder(controller, own) if own is not None else None
        if folder is not None:
            folders[controller] = folder
    return Cgroup(folders)


def declared(mounts: Mounts, path: str, pid: int | None, proc: Path = Path("/proc")) -> Cgroup:
    """The cgroup at `path` in each hierarchy that has it; in others, the cgroup of the same name that `pid` is in.

    On v1 a container need not be at the same path in each hierarchy: it is in the root of hierarchies that Mesos was
    not told to use.
    """
    found: Mapping[str, Path] = {}
    if pid is not None:
        with contextlib.suppress(OSError):  # The process is gone; the cgroup may have others.
            found = of_process(mounts, pid, posixpath.basename(path), proc).folders
    folders = {controller: mounts.folder(controller, path) for controller in mounts.points}
    there = {each: folder for each, folder in folders.items() if folder is not None and folder.is_dir()}
    return Cgroup({**found, **there})


def _name(escaped: bytes) -> str:
    return os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), escaped))
