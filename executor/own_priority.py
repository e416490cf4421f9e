"""The control process' own share of the CPU: it must act just when everybody wants CPU.

Its container has ten shares a revocable cpu, production 1024 a cpu.  So as root it moves,
without its tasks, into a cpu cgroup of its own outside the container's, keeping every other
membership (memory, freezer).  It moves back before it ends: a process cannot remove the cgroup that
it sits in.  Where it runs in the root cgroup a better nice value does, if it may have that.
"""

from __future__ import annotations

import logging
import os
import posixpath
from pathlib import Path

from serenity.executor.tasks.cgroups import Hierarchies, OwnedCgroup
from serenity.executor.tasks.guardian import CGROUP_PREFIX

logger = logging.getLogger(__name__)

_SHARES = 256  # A quarter of a cpu's worth where every core is wanted; it uses some hundredths.
_NICE = -10
_AUTOGROUP = Path("/proc/self/autogroup")


class OwnPriority:
    """`raise_up` once at the start, `undo` at the end."""

    def __init__(self, hierarchies: Hierarchies | None, container_id: str) -> None:
        self._hierarchies = hierarchies
        self._name = f"{CGROUP_PREFIX}control-{container_id}"
        self._cgroup: OwnedCgroup | None = None
        self.nice_before = os.getpriority(os.PRIO_PROCESS, 0)
        self.moved = False

    def raise_up(self) -> str:
        """Says what was possible."""
        found = self._hierarchies
        if found is not None and not found.v2 and found.own["cpu"] != found.top("cpu"):
            path = posixpath.join(found.top("cpu"), self._name)
            cgroup = OwnedCgroup(path, {"cpu": found.folder("cpu", path)}, v2=False)
            try:
                cgroup.make()
                self._cgroup = cgroup
                cgroup.set_shares(_SHARES)
                _join(cgroup.folder)
                self.moved = True
                return f"in cpu cgroup {cgroup.path} with {_SHARES} shares"
            except OSError as error:
                logger.debug("no cpu cgroup of our own: %s", error)
                self.undo()
        try:
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        except PermissionError:
            return "as started: no right to a better one"
        try:
            # Where the kernel has autogroups, nice values count only within that of the session.
            _AUTOGROUP.write_text(str(_NICE))
        except OSError as error:
            logger.debug("no autogroup: %s", error)
        return f"nice {_NICE}"

    @property
    def procs_files_before(self) -> list[str]:
        """Where a task without a cgroup of its own must go, lest it inherit ours."""
        return [str(self._before() / "cgroup.procs")] if self.moved else []

    def undo(self) -> None:
        if self._cgroup is not None:
            try:
                if self.moved:
                    _join(self._before())
                self._cgroup.remove()
            except OSError as error:
                logger.warning("%s is left behind: %s", self._cgroup.folder, error)
        self.moved, self._cgroup = False, None

    def _before(self) -> Path:
        assert self._hierarchies is not None  # Else we would not have moved.
        return self._hierarchies.folder("cpu", self._hierarchies.own["cpu"])


def _join(folder: Path) -> None:
    (folder / "cgroup.procs").write_text("0")
