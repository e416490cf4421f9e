"""The containers of an agent: measured, limited, and killed to the last child.

Runs on gevent.  Without cgroups a container is a session of its own with its descendants
(`processes.members`), as with Mesos' posix launcher, only that here no process survives; with
cgroups (`cgroups.Cgroups`) every process in its cgroup belongs to it as well.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import gevent
import gevent.pool

from serenity.localmesos.containers import processes
from serenity.localmesos.containers.cgroups import Cgroups
from serenity.localmesos.containers.launcher import Launcher
from serenity.localmesos.messages import LaunchContainer, RecoveredContainer
from serenity.wire.mesos.resources import Json, Resources

logger = logging.getLogger(__name__)

_POLL_S = 0.01
_NOT_FOUND_STATUS = 127 << 8  # As from a shell that does not find the command.


class ContainerNews(Protocol):
    """Is told what becomes of containers; `agent.Agent`, by way of `agent.process.AgentProcess`."""

    def container_launched(self, container_id: str, pid: int) -> None: ...
    def container_failed(self, container_id: str, error: str) -> None: ...
    def container_ended(self, container_id: str, wait_status: int | None) -> None: ...
    def container_update_failed(self, container_id: str, error: str) -> None: ...


@dataclass(slots=True, eq=False)
class _Container:
    mark: bytes
    pid: int
    # CPU seconds (user, system) by pid and start, as last seen.  The sums below are of processes
    # that have ended, so that the reported CPU time never falls.
    cpu_s: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    ended_user_s: float = 0.0
    ended_system_s: float = 0.0

    def count(self, alive: list[processes.Process]) -> tuple[float, float]:
        """CPU seconds, user and system, of all processes that were ever seen in the container."""
        seen = {(each.pid, each.started_ticks): (each.user_s, each.system_s) for each in alive}
        for gone in self.cpu_s.keys() - seen.keys():
            self.ended_user_s += self.cpu_s[gone][0]
            self.ended_system_s += self.cpu_s[gone][1]
        self.cpu_s = seen
        user_s = self.ended_user_s + sum(each for each, _ in seen.values())
        return user_s, self.ended_system_s + sum(each for _, each in seen.values())


class Containers:
    def __init__(self, news: ContainerNews, launcher: Launcher, cgroups: Cgroups | None, sandboxes: Path) -> None:
        """`sandboxes`: the agent's work directory; processes with a sandbox below it belong to containers."""
        self._news = news
        self._launcher = launcher
        self._cgroups = cgroups
        self._sandboxes = sandboxes
        self._containers: dict[str, _Container] = {}
        self._starting: set[str] = set()
        self._doomed: set[str] = set()  # To be destroyed as soon as they have started.
        self._greenlets = gevent.pool.Group()

    # -- begin -------------------------------------------------------------------------

    def launch(self, launch: LaunchContainer) -> None:
        """Starts the first process of a container; returns at once, news follow."""
        self._starting.add(launch.container_id)
        self._greenlets.spawn(self._run, launch)

    def _run(self, launch: LaunchContainer) -> None:
        container_id = launch.container_id
        try:
            try:
                pid = self._start(launch)  # Other greenlets run meanwhile.
            finally:
                self._starting.discard(container_id)
        except FileNotFoundError as error:
            # Mesos notices a missing program only in the child.
            with contextlib.suppress(OSError):
                launch.sandbox.joinpath("stderr").write_text(f"{error}\n", encoding="utf-8")
            self._clean_up(container_id)
            self._news.container_ended(container_id, _NOT_FOUND_STATUS)
            return
        except (OSError, KeyError, ValueError) as error:
            logger.warning("container %s: %s", container_id, error)
            self._clean_up(container_id)
            self._news.container_failed(container_id, str(error))
            return
        logger.info("container %s: process %d", container_id, pid)
        container = self._containers[container_id] = _Container(_mark(launch.sandbox), pid)
        self._news.container_launched(container_id, pid)
        if container_id in self._doomed:
            self._doomed.discard(container_id)
            self.destroy(container_id)
        self._see_to_the_end(container_id, container)

    def _start(self, launch: LaunchContainer) -> int:
        if self._cgroups is None:
            return self._launcher.start(launch)
        cgroups = self._cgroups
        cgroups.create(launch.container_id, launch.allocated)
        return self._launcher.start(launch, lambda pid: cgroups.enter(launch.container_id, pid))

    def recover(self, recovered: Iterable[RecoveredContainer]) -> None:
        """Takes over containers of an earlier agent; news follow of those that have ended meanwhile.

        Any other container of that agent is an orphan and is killed, as in Mesos.
        """
        for each in recovered:
            container = self._containers[each.container_id] = _Container(_mark(each.sandbox), each.pid)
            self._greenlets.spawn(self._see_to_the_end, each.container_id, container)
        ours = f"MESOS_SANDBOX={self._sandboxes}/".encode()
        orphans = processes.members(processes.snapshot(), None, ours)
        for container_id in self._containers:
            orphans -= self._members(container_id)
        self._greenlets.spawn(self._kill_orphans, orphans, set(self._containers))

    def _kill_orphans(self, orphans: set[int], known: set[str]) -> None:
        def alive() -> set[int]:
            table = processes.snapshot()
            return set().union(*(processes.members(table, pid) for pid in orphans))

        left = processes.kill_all(alive)
        if left:
            logger.error("cannot kill %s, which an earlier agent has left", sorted(left))
        if self._cgroups is not None:
            for container_id in self._cgroups.containers() - known - self._starting - self._containers.keys():
                self._kill_all(container_id)
                self._cgroups.remove(container_id)

    # -- end ---------------------------------------------------------------------------

    def _see_to_the_end(self, container_id: str, container: _Container) -> None:
        status = self._launcher.wait(container.pid, container.mark)
        left = self._kill_all(container_id)
        if left:
            logger.error("container %s: cannot kill %s", container_id, sorted(left))
        del self._containers[container_id]
        self._launcher.forget(container.pid)
        self._clean_up(container_id)
        self._news.container_ended(container_id, status)

    def _kill_all(self, container_id: str) -> set[int]:
        find = functools.partial(self._members, container_id)
        if self._cgroups is None:
            return processes.kill_all(find)
        return processes.kill_all(find, functools.partial(self._cgroups.thaw, container_id))

    def _clean_up(self, container_id: str) -> None:
        if self._cgroups is not None:
            self._cgroups.remove(container_id)

    def _members(self, container_id: str) -> set[int]:
        """The container's processes; once it is over, only those in its cgroup, if any."""
        container = self._containers.get(container_id)
        members = set()
        if container is not None:
            members = processes.members(processes.snapshot(), container.pid, container.mark)
        return members if self._cgroups is None else members | self._cgroups.members(container_id)

    def destroy(self, container_id: str) -> None:
        """Kills every process of a container; returns at once, news follow."""
        if container_id in self._containers:
            self._greenlets.spawn(self._kill_all, container_id)
        elif container_id in self._starting:
            self._doomed.add(container_id)

    def destroy_all(self) -> None:
        """Kills every process of every container and waits until they are gone."""
        while self._containers or self._starting:
            for container_id in list(self._containers):
                self._kill_all(container_id)
            gevent.sleep(_POLL_S)

    def abandon(self) -> None:
        """The agent was killed: nobody looks after its containers any more, and they live on."""
        self._greenlets.kill()

    # -- measured and limited ----------------------------------------------------------

    def update(self, container_id: str, allocated: Resources) -> None:
        """What is allocated to the container has changed."""
        if self._cgroups is not None and container_id in self._containers:
            try:
                self._cgroups.update(container_id, allocated)
            except (OSError, ValueError) as error:
                self._news.container_update_failed(container_id, str(error))

    def statistics(self, allocated: Callable[[str], Resources], now_s: float) -> dict[str, Json]:
        """ResourceStatistics by container id, with the fields of Mesos' isolators.

        Args:
            allocated: what is allocated to a container, for its limits.
        """
        if self._cgroups is not None:
            return {each: self._cgroups.statistics(each, allocated(each), now_s) for each in self._containers}
        table = processes.snapshot()
        statistics = {}
        for container_id, container in self._containers.items():
            alive = [table[pid] for pid in processes.members(table, container.pid)]
            user_s, system_s = container.count(alive)
            limits = allocated(container_id)
            statistics[container_id] = {
                "cpus_soft_limit": limits.cpus,
                "cpus_system_time_secs": round(system_s, 3),
                "cpus_user_time_secs": round(user_s, 3),
                "mem_limit_bytes": limits.mem_bytes,
                "mem_rss_bytes": sum(each.rss_bytes for each in alive),
                "mem_soft_limit_bytes": limits.mem_bytes,
                "timestamp": now_s,
            }
        return statistics


def _mark(sandbox: Path) -> bytes:
    return f"MESOS_SANDBOX={sandbox}".encode()


def become_subreaper() -> None:
    """Children that a container's process leaves behind become children of this process; its event loop reaps them.

    Raises:
        OSError
    """
    pr_set_child_subreaper = 36  # linux/prctl.h
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(pr_set_child_subreaper, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
