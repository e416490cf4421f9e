"""CPU cgroups: which hierarchy this process is in, and a cgroup of its own for each task.

v1: below the cgroup of the executor's container, where Mesos leaves children alone that are
not called ``mesos``.  v2: Mesos takes anything below its containers for a nested one, and
processes that leave the container's cgroup leave its memory limit with it; so on v2 there
are task cgroups only for an executor that Mesos did not put into a cgroup of its own.
"""

from __future__ import annotations

import errno
import logging
import posixpath
from dataclasses import dataclass
from pathlib import Path

from serenity.executor.guardian import CGROUP_PREFIX
from serenity.qos.sources.cgroups import V2, Mounts, memberships

logger = logging.getLogger(__name__)

_PERIOD_US = 100_000
_LEAST_QUOTA_US = 1_000  # The kernel's own minimum.
# A younger empty cgroup may be one that its executor is just about to fill.
_SWEEP_AGE_S = 60.0


@dataclass(frozen=True, slots=True)
class CpuHierarchy:
    """Where CPU is distributed.  Paths are those of /proc/PID/cgroup."""

    mounts: Mounts
    controller: str  # Of `mounts`: ``cpu``, or `V2`.
    own: str  # The cgroup of this process.

    @property
    def v2(self) -> bool:
        return self.controller == V2

    @property
    def top(self) -> str:
        """The uppermost cgroup that we can see."""
        return self.mounts.points[self.controller][1]

    @property
    def accounting(self) -> bool:
        """v1: whether cpuacct is mounted apart, with this process in the same place."""
        return not self.v2 and self.mounts.points.get("cpuacct") not in (None, self.mounts.points[self.controller])

    def folder(self, path: str) -> Path:
        folder = self.mounts.folder(self.controller, path)
        assert folder is not None  # `find_hierarchy` has looked, and all of ours are below or beside `own`.
        return folder


def find_hierarchy(proc: Path = Path("/proc")) -> CpuHierarchy | None:
    """The hierarchy with the cpu controller, v1 before v2; None where there is none that we see."""
    mounts = Mounts.read(proc)
    own = memberships((proc / "self/cgroup").read_text())
    for controller in ("cpu", V2):
        path = own.get(controller)
        if path is None or mounts.folder(controller, path) is None:
            continue
        if controller == V2:
            controllers = mounts.points[V2][0] / "cgroup.controllers"
            if not controllers.exists() or "cpu" not in controllers.read_text().split():
                continue
        elif own.get("cpuacct") != path:
            mounts = Mounts({name: point for name, point in mounts.points.items() if name != "cpuacct"})
        return CpuHierarchy(mounts, controller, path)
    return None


class CpuCgroup:
    """One cgroup that we made.  Methods raise OSError when the kernel refuses."""

    def __init__(self, hierarchy: CpuHierarchy, path: str, accounted: bool = True) -> None:
        """`accounted`: with a cgroup of the same path to count its CPU, where that is a hierarchy apart."""
        self._v2 = hierarchy.v2
        self.path = path
        self.folder = hierarchy.folder(path)
        self._folders = [self.folder]
        if hierarchy.accounting and accounted:
            accounting = hierarchy.mounts.folder("cpuacct", path)
            self._folders += [accounting] if accounting is not None else []

    def make(self) -> None:
        for folder in self._folders:
            folder.mkdir(exist_ok=True)

    @property
    def procs_files(self) -> list[str]:
        """A process that writes "0" into each of these is in the cgroup."""
        return [str(folder / "cgroup.procs") for folder in self._folders]

    def set_lowest(self) -> None:
        """Runs only when nobody else wants to (Linux 5.15), else with the least weight."""
        try:
            (self.folder / "cpu.idle").write_text("1")
        except OSError:
            (self.folder / ("cpu.weight" if self._v2 else "cpu.shares")).write_text("1" if self._v2 else "2")

    def set_shares(self, shares: int) -> None:
        """v1's scale, where 1024 is the default."""
        if self._v2:
            (self.folder / "cpu.weight").write_text(str(max(1, round(shares * 100 / 1024))))
        else:
            (self.folder / "cpu.shares").write_text(str(shares))

    def set_quota(self, cores: float | None) -> None:
        """At most that much CPU time per time, in all its processes together; None: no limit."""
        quota_us = None if cores is None else max(_LEAST_QUOTA_US, round(cores * _PERIOD_US))
        if self._v2:
            (self.folder / "cpu.max").write_text(f"{'max' if quota_us is None else quota_us} {_PERIOD_US}")
            return
        (self.folder / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        (self.folder / "cpu.cfs_quota_us").write_text(str(-1 if quota_us is None else quota_us))

    def quota(self) -> float | None:
        """Cores, as the kernel says; None: no limit."""
        if self._v2:
            quota, period = (self.folder / "cpu.max").read_text().split()
        else:
            quota = (self.folder / "cpu.cfs_quota_us").read_text().strip()
            period = (self.folder / "cpu.cfs_period_us").read_text()
        return None if quota in ("max", "-1") else int(quota) / int(period)

    def remove(self) -> bool:
        """False while something is still in it."""
        for folder in self._folders:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass  # It is gone already, which is what was wanted.
            except OSError as error:
                if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                    raise
                return False
        return True


def task_parent(hierarchy: CpuHierarchy, container_id: str) -> str:
    """Below which cgroup the tasks' own ones go.

    Raises:
        OSError: not with this hierarchy, or not with our rights; says why.
    """
    if hierarchy.v2:
        if container_id in hierarchy.own:
            raise OSError("in a Mesos container on cgroup v2, whose memory limit its tasks must not leave")
        top = hierarchy.folder(hierarchy.top)
        if "cpu" not in (top / "cgroup.subtree_control").read_text().split():
            raise OSError(f"{top} hands no cpu controller down (cgroup.subtree_control)")
        return hierarchy.top
    return hierarchy.own


def parents(hierarchy: CpuHierarchy) -> set[Path]:
    """All folders below which an executor here makes cgroups."""
    controllers = [hierarchy.controller, *(["cpuacct"] if hierarchy.accounting else [])]
    found = {hierarchy.mounts.folder(each, path) for each in controllers for path in (hierarchy.top, hierarchy.own)}
    return {each for each in found if each is not None}


def sweep(hierarchy: CpuHierarchy, now: float) -> None:
    """Removes the empty cgroups that executors left which were killed.  `now`: seconds since the epoch."""
    for folder in (folder for parent in parents(hierarchy) for folder in parent.glob(f"{CGROUP_PREFIX}*")):
        try:
            if now - folder.stat().st_mtime > _SWEEP_AGE_S:
                folder.rmdir()
                logger.info("removed %s, which a killed executor had left", folder)
        except OSError:
            continue  # Not empty: another executor's, in use.  Or not ours to remove.


class TaskCgroups:
    """Makes the cgroups of one executor's tasks.  `unavailable` says why there are none."""

    def __init__(self, hierarchy: CpuHierarchy | None, container_id: str) -> None:
        self._hierarchy = hierarchy
        self._name = f"{CGROUP_PREFIX}{container_id}"
        self._made = 0
        self.unavailable: str | None = "no cpu cgroups on this machine"
        if hierarchy is not None:
            self._try(hierarchy, container_id)

    def make(self) -> CpuCgroup | None:
        """A cgroup for one more task; None where they are not available."""
        if self._hierarchy is None or self.unavailable is not None:
            return None
        self._made += 1
        cgroup = CpuCgroup(self._hierarchy, posixpath.join(self._parent, f"{self._name}-{self._made}"))
        try:
            cgroup.make()
        except OSError as error:
            logger.warning("no cgroup for a task: %s", error)
            cgroup.remove()
            return None
        return cgroup

    def _try(self, hierarchy: CpuHierarchy, container_id: str) -> None:
        """Makes one and removes it: rights and kernel options show only so."""
        try:
            self._parent = task_parent(hierarchy, container_id)
            trial = CpuCgroup(hierarchy, posixpath.join(self._parent, f"{self._name}-0"))
            try:
                trial.make()
                trial.set_quota(1.0)
            finally:
                trial.remove()
            self.unavailable = None
        except OSError as error:
            self.unavailable = str(error)
