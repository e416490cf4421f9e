"""Containers as processes: started in their sandboxes, measured, killed to the last child.

Runs on gevent.  No isolation: a container is a session of its own and what comes of it
(`processes.members`), as with Mesos' posix launcher, only that here nothing survives.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import gevent

from serenity.localmesos import processes
from serenity.localmesos.messages import LaunchContainer
from serenity.wire.resources import Json, Resources

logger = logging.getLogger(__name__)

_POLL_S = 0.01
_NOT_FOUND_STATUS = 127 << 8  # As of a shell that did not find the command.


class ContainerNews(Protocol):
    """Who is told what becomes of containers; `agent.Agent` by way of `embedded.EmbeddedMesos`."""

    def container_launched(self, container_id: str, pid: int) -> None: ...
    def container_failed(self, container_id: str, error: str) -> None: ...
    def container_ended(self, container_id: str, wait_status: int) -> None: ...


@dataclass(slots=True, eq=False)
class _Container:
    mark: bytes
    process: subprocess.Popen[bytes]
    # CPU seconds (user, system) by pid and start, as last seen; those that have ended are in
    # the sum, so that what is reported never falls.
    cpu_s: dict[tuple[int, int], tuple[float, float]] = field(default_factory=dict)
    ended_user_s: float = 0.0
    ended_system_s: float = 0.0

    def members(self) -> set[int]:
        return processes.members(processes.snapshot(), self.process.pid, self.mark)

    def count(self, alive: list[processes.Process]) -> tuple[float, float]:
        """CPU seconds, user and system, of all that was ever seen in it."""
        seen = {(each.pid, each.started_ticks): (each.user_s, each.system_s) for each in alive}
        for gone in self.cpu_s.keys() - seen.keys():
            self.ended_user_s += self.cpu_s[gone][0]
            self.ended_system_s += self.cpu_s[gone][1]
        self.cpu_s = seen
        user_s = self.ended_user_s + sum(each for each, _ in seen.values())
        return user_s, self.ended_system_s + sum(each for _, each in seen.values())


class Containers:
    def __init__(self, news: ContainerNews) -> None:
        self._news = news
        self._containers: dict[str, _Container] = {}
        self._starting: set[str] = set()
        self._doomed: set[str] = set()  # To be destroyed as soon as they have started.

    def launch(self, launch: LaunchContainer) -> None:
        """Starts the first process of a container; returns at once, news follow."""
        self._starting.add(launch.container_id)
        gevent.spawn(self._run, launch)

    def _run(self, launch: LaunchContainer) -> None:
        container_id = launch.container_id
        try:
            try:
                process = _start(launch)  # Other greenlets run meanwhile.
            finally:
                self._starting.discard(container_id)
        except FileNotFoundError as error:
            # The sandbox is there, the program is not: Mesos notices only in the child.
            with contextlib.suppress(OSError):
                launch.sandbox.joinpath("stderr").write_text(f"{error}\n", encoding="utf-8")
            self._news.container_ended(container_id, _NOT_FOUND_STATUS)
            return
        except (OSError, KeyError, ValueError) as error:
            logger.warning("container %s: %s", container_id, error)
            self._news.container_failed(container_id, str(error))
            return
        mark = f"MESOS_SANDBOX={launch.sandbox}".encode()
        container = self._containers[container_id] = _Container(mark, process)
        logger.info("container %s: process %d", container_id, process.pid)
        self._news.container_launched(container_id, process.pid)
        if container_id in self._doomed:
            self._doomed.discard(container_id)
            self.destroy(container_id)
        returned = process.wait()
        left = processes.kill_all(container.members)
        if left:
            logger.error("container %s: cannot kill %s", container_id, sorted(left))
        del self._containers[container_id]
        self._news.container_ended(container_id, -returned if returned < 0 else returned << 8)

    def destroy(self, container_id: str) -> None:
        """Kills every process of a container; returns at once, news follow."""
        container = self._containers.get(container_id)
        if container is not None:
            gevent.spawn(processes.kill_all, container.members)
        elif container_id in self._starting:
            self._doomed.add(container_id)

    def destroy_all(self) -> None:
        """Kills every process of every container and waits until they are gone."""
        while self._containers or self._starting:
            for container in list(self._containers.values()):
                processes.kill_all(container.members)
            gevent.sleep(_POLL_S)

    def statistics(self, allocated: Callable[[str], Resources], now_s: float) -> dict[str, Json]:
        """ResourceStatistics by container id, with the fields of Mesos' posix isolators.

        Args:
            allocated: what a container is allocated to, for its limits.
        """
        table = processes.snapshot()
        statistics = {}
        for container_id, container in self._containers.items():
            alive = [table[pid] for pid in processes.members(table, container.process.pid)]
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


def _start(launch: LaunchContainer) -> subprocess.Popen[bytes]:
    """Raises OSError, KeyError for an unknown user, ValueError for URIs or a NUL in the command."""
    if launch.uris:
        raise ValueError(f"localmesos fetches no URIs, such as {launch.uris[0]}")
    user = _other_user(launch.user)
    launch.sandbox.mkdir(parents=True, mode=0o750)
    latest = launch.sandbox.parent / "latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(launch.sandbox)
    with (
        launch.sandbox.joinpath("stdout").open("ab") as stdout,
        launch.sandbox.joinpath("stderr").open("ab") as stderr,
    ):
        if user is not None:
            for path in (launch.sandbox, launch.sandbox / "stdout", launch.sandbox / "stderr"):
                shutil.chown(path, user.pw_uid, user.pw_gid)
        return subprocess.Popen(
            launch.argv,
            executable=launch.program,
            cwd=launch.sandbox,
            env=dict(launch.environment),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
        )


def _other_user(name: str | None) -> pwd.struct_passwd | None:
    """The user to switch to; None where that is oneself, or only root could (--no-switch_user)."""
    if name is None or os.geteuid() != 0:
        return None
    user = pwd.getpwnam(name)
    return None if user.pw_uid == 0 else user


def become_subreaper() -> None:
    """What a container's process leaves behind becomes a child of this process, and is reaped by its event loop.

    Raises:
        OSError
    """
    pr_set_child_subreaper = 36  # linux/prctl.h
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(pr_set_child_subreaper, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
