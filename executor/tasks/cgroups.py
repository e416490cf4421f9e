"""Cgroups: where this process is in them, and a cgroup of its own for each task.

v1: below the cgroups of the executor's container, in every hierarchy; Mesos leaves children alone
there that are not called ``mesos``.  v2: Mesos takes anything below its containers for a nested
container, so tasks' cgroups stand beside the container's, at the top.  There the container's memory
limit does not hold for them, so each task must have a limit of its own (`limits.py`).
"""

from __future__ import annotations

import errno
import logging
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from serenity.executor.tasks.guardian import CGROUP_PREFIX
from serenity.qos.sources.cgroups import V2, Mounts, memberships

logger = logging.getLogger(__name__)

# v1 controllers in which a task has a cgroup of its own, where they are mounted; without the first it has none at all.
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "pids", "blkio", "freezer", "perf_event")
# v2: what a task beside the container would have inside it, 10 shares a revocable cpu.
_SHARES_IN_CONTAINER = 10
# A younger empty cgroup may be one that its executor is just about to fill.
_SWEEP_AGE_S = 60.0


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """Where this process is.  Paths are those of /proc/PID/cgroup."""

    mounts: Mounts
    own: Mapping[str, str]  # This process' cgroup by v1 controller, ``cpu`` among them; or `V2` alone.

    @property
    def v2(self) -> bool:
        return V2 in self.own

    def top(self, hierarchy: str) -> str:
        """The uppermost cgroup that we can see."""
        return self.mounts.points[hierarchy][1]

    def folder(self, hierarchy: str, path: str) -> Path:
        folder = self.mounts.folder(hierarchy, path)
        assert folder is not None  # `find_hierarchies` has looked, and all of ours are below or beside `own`.
        return folder


def find_hierarchies(proc: Path = Path("/proc")) -> Hierarchies | None:
    """The hierarchies with the cpu controller, v1 before v2; None where we see none."""
    mounts = Mounts.read(proc)
    paths = memberships((proc / "self/cgroup").read_bytes())
    own = {hierarchy: path for hierarchy, path in paths.items() if mounts.folder(hierarchy, path) is not None}
    if "cpu" in own:
        return Hierarchies(mounts, {each: own[each] for each in CONTROLLERS if each in own})
    if V2 in own:
        controllers = mounts.points[V2][0] / "cgroup.controllers"
        if controllers.exists() and "cpu" in controllers.read_text().split():
            return Hierarchies(mounts, {V2: own[V2]})
    return None


class OwnedCgroup:
    """One cgroup that we made: a folder in each v1 hierarchy, or the one of v2.

    Methods raise OSError when the kernel refuses.
    """

    def __init__(self, path: str, folders: Mapping[str, Path], v2: bool) -> None:
        """`path`: in the hierarchy of cpu.  `folders`: by controller, ``cpu`` among them; on v2 all are one folder."""
        self.path = path
        self.folders = folders
        self.v2 = v2
        self.folder = folders["cpu"]
        self._distinct = list(dict.fromkeys(folders.values()))
        self._refused = False

    def make(self) -> None:
        for folder in self._distinct:
            folder.mkdir(exist_ok=True)
        if not self.v2 and "cpuset" in self.folders:
            # A new one has no cpus and no memory nodes, and takes no process.
            cpuset = self.folders["cpuset"]
            for name in ("cpuset.cpus", "cpuset.mems"):
                (cpuset / name).write_text((cpuset.parent / name).read_text())

    @property
    def procs_files(self) -> list[str]:
        """A process that writes "0" into each of these, in this order, is in the cgroup.

        The cpu cgroup comes last.  Moving a process takes a machine-wide lock.  Once in that cgroup the process has the
        lowest priority, and on a busy machine could hold the lock for long while everybody, Mesos included, waits.
        """
        lowered = self.folders.get("cpu")
        return [str(each / "cgroup.procs") for each in sorted(self._distinct, key=lambda each: each == lowered)]

    def set_shares(self, shares: int) -> None:
        """v1's scale, where 1024 is the default."""
        if self.v2:
            (self.folder / "cpu.weight").write_text(str(max(1, round(shares * 100 / 1024))))
        else:
            (self.folder / "cpu.shares").write_text(str(shares))

    def thaw(self) -> None:
        """Whoever has frozen it: on v1 a frozen process does not even die."""
        freezer = self.folders.get("freezer")
        if freezer is not None:
            name, thawed = ("cgroup.freeze", "0") if self.v2 else ("freezer.state", "THAWED")
            (freezer / name).write_text(thawed)

    def seal(self) -> None:
        """Nothing in it makes a process any more: what forks and exits all the time is gone before a signal comes."""
        if "pids" in self.folders:
            (self.folders["pids"] / "pids.max").write_text("0")

    def members(self) -> list[int]:
        """Pids; none when it is gone."""
        try:
            return [int(each) for each in (self.folder / "cgroup.procs").read_bytes().split()]
        except OSError:
            return []

    def remove(self) -> bool:
        """False while something is still in it, or the kernel refuses (a hierarchy that was made read-only)."""
        for folder in self._distinct:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass  # It is gone already, which is what was wanted.
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.ENOTEMPTY) and not self._refused:
                    logger.warning("%s cannot be removed: %s", folder, error.strerror)
                    self._refused = True  # It is tried again all the same, and said once.
                return False
        return True


def task_folders(hierarchies: Hierarchies, container_id: str, name: str) -> tuple[str, dict[str, Path]]:
    """Where a task's own cgroup of that name goes: its path, and its folders by controller.

    Raises:
        OSError: not with these hierarchies; says why.
    """
    if not hierarchies.v2:
        own = {each: posixpath.join(path, name) for each, path in hierarchies.own.items()}
        return own["cpu"], {each: hierarchies.folder(each, path) for each, path in own.items()}
    top = hierarchies.folder(V2, hierarchies.top(V2))
    handed_down = (top / "cgroup.subtree_control").read_text().split()
    needed = ("cpu", "memory") if container_id in hierarchies.own[V2] else ("cpu",)
    missing = [each for each in needed if each not in handed_down]
    if missing:
        raise OSError(f"{top} hands no {' and no '.join(missing)} controller down (cgroup.subtree_control)")
    path = posixpath.join(hierarchies.top(V2), name)
    return path, dict.fromkeys([*handed_down, "freezer"], hierarchies.folder(V2, path))


def parents(hierarchies: Hierarchies) -> set[Path]:
    """All folders below which an executor here makes cgroups."""
    return {
        hierarchies.folder(each, path) for each, own in hierarchies.own.items() for path in (hierarchies.top(each), own)
    }


def sweep(hierarchies: Hierarchies, now: float) -> None:
    """Removes the empty cgroups that killed executors have left.  `now`: seconds since the epoch."""
    for folder in (folder for parent in parents(hierarchies) for folder in parent.glob(f"{CGROUP_PREFIX}*")):
        try:
            if now - folder.stat().st_mtime > _SWEEP_AGE_S:
                folder.rmdir()
                logger.info("removed %s, which a killed executor had left", folder)
        except OSError:
            continue  # Not empty: another executor's, in use.  Or not ours to remove.


class TaskCgroups:
    """Makes the cgroups of one executor's tasks.  `unavailable` says why there are none."""

    def __init__(self, hierarchies: Hierarchies | None, container_id: str) -> None:
        self._hierarchies = hierarchies
        self._container_id = container_id
        self._made = 0
        self._unusable: set[str] = set()  # v1 controllers.
        self.unavailable: str | None = "no cpu cgroups on this machine"
        if hierarchies is not None:
            self.unavailable = self._try(hierarchies)

    def make(self) -> OwnedCgroup | None:
        """A cgroup for one more task; None where they are not available."""
        if self._hierarchies is None or self.unavailable is not None:
            return None
        self._made += 1
        cgroup = self._cgroup(self._hierarchies, self._made)
        try:
            cgroup.make()
            if cgroup.v2 and self._container_id in self._hierarchies.own[V2]:
                cgroup.set_shares(_SHARES_IN_CONTAINER)
        except OSError as error:
            logger.warning("no cgroup for a task: %s", error)
            cgroup.remove()
            return None
        return cgroup

    def _cgroup(self, hierarchies: Hierarchies, number: int) -> OwnedCgroup:
        name = f"{CGROUP_PREFIX}{self._container_id}-{number}"
        path, folders = task_folders(hierarchies, self._container_id, name)
        usable = {each: folder for each, folder in folders.items() if each not in self._unusable}
        return OwnedCgroup(path, usable, hierarchies.v2)

    def _try(self, hierarchies: Hierarchies) -> str | None:
        """Why no cgroup can be made.  Makes one and removes it: only that shows rights and kernel options."""
        try:
            whole = self._cgroup(hierarchies, 0)
        except OSError as error:
            return str(error)
        for controller in ("cpu",) if hierarchies.v2 else whole.folders:
            trial = OwnedCgroup(whole.path, {each: whole.folders[each] for each in ("cpu", controller)}, whole.v2)
            try:
                try:
                    trial.make()
                    quota = trial.folder / ("cpu.max" if trial.v2 else "cpu.cfs_quota_us")
                    quota.write_text("100000")  # One cpu, in the period that the kernel begins with.
                finally:
                    trial.remove()
            except OSError as error:
                if controller == "cpu":
                    return str(error)
                logger.info("tasks have no %s cgroups of their own: %s", controller, error)
                self._unusable.add(controller)
        return None
