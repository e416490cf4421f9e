"""The containers on the node as the agent reports them, asked for beside the sampling, which never waits for it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from serenity.daemon.clock import Clock
from serenity.qos.sources import docker
from serenity.wire.mesos.state import AgentIdentity, AgentReader, Container
from serenity.wire.transport.http import HttpError, Unreachable

logger = logging.getLogger(__name__)

# At most one request a second, however often we sample.  At least one in two seconds, however rarely we sample: the
# agent's word is good for five seconds (slack.limits.stale_s), and every other request may be for processes.
LEAST_S, _MOST_S = 1.0, 2.0
# How often perf samples are asked for: by default the agent takes one of ten seconds every minute.
_PERF_INTERVAL_S = 10.0


@dataclass(frozen=True, slots=True)
class Look:
    """What the agent said at one moment.  `asked_at_s` is monotonic: nothing in it is older than that."""

    asked_at_s: float
    identity: AgentIdentity
    containers: tuple[Container, ...]
    unresolved: Mapping[str, str] = field(default_factory=dict)  # By container: why Docker does not tell its process.

    @property
    def held(self) -> tuple[float, int]:
        """Revocable cores and bytes that are allocated to executors and tasks, including tasks that are being launched.

        Regular resources of best-effort, such as regular memory of a task on revocable cpus, are no slack: not counted.
        """
        found = self.containers
        return sum(each.revocable_cpus for each in found), sum(each.revocable_mem_bytes for each in found)


def asking_interval_s(sampling_interval_s: float) -> float:
    """The time between requests to the agent."""
    return max(LEAST_S, min(sampling_interval_s, _MOST_S))


class Roster:
    """Asks the agent once an interval, in a thread of its own.  `latest` is what it said last.

    One request is for the containers.  The next is for their processes, if a container is new or perf statistics are
    due; else for the containers again.
    """

    def __init__(
        self, reader: AgentReader, clock: Clock, interval_s: float = LEAST_S, docker_socket: Path = docker.SOCKET
    ) -> None:
        self._reader = reader
        self._clock = clock
        self._interval_s = interval_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="roster", daemon=True)
        self.latest: Look | None = None
        self.failures = 0
        self._processes_due = False
        self._perf_due_s = 0.0
        self._docker_socket = docker_socket

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Does not wait for a request under way."""
        self._stopping.set()

    def ask(self) -> Look:
        """One request.  Raises Unreachable or HttpError; `latest` then stays what it was."""
        now_s = self._clock.monotonic_s()
        if self.latest is not None and self._processes_due:
            self._processes_due, self._perf_due_s = False, now_s + _PERF_INTERVAL_S  # Even if the request fails.
            look = replace(self.latest, containers=self._reader.with_processes(self.latest.containers))
        else:
            seen = self._reader.look(self.latest.containers if self.latest is not None else ())
            perf_due = seen.identity.samples_perf and now_s >= self._perf_due_s
            self._processes_due = perf_due or not seen.whole
            unresolved: dict[str, str] = {}
            look = Look(now_s, seen.identity, self._found_in_docker(seen.containers, unresolved), unresolved)
        self.latest = look
        return look

    def _found_in_docker(self, seen: Iterable[Container], unresolved: dict[str, str]) -> tuple[Container, ...]:
        """Adds the pids of containers that Docker runs for the agent, for the agent does not tell them."""
        found, silent = [], ""
        for each in seen:
            container = each
            if each.pid is None and each.docker:
                try:
                    # If Docker does not answer it is not asked again in this look: each question may take a timeout.
                    pid = None if silent else docker.pid_of(each.container_id, self._docker_socket)
                    container = replace(each, pid=pid)
                except docker.DockerSilent as error:
                    silent = str(error)
                except docker.DockerError as error:
                    unresolved[each.container_id] = str(error)
                if silent:
                    unresolved[each.container_id] = silent
            found.append(container)
        return tuple(found)

    def _run(self) -> None:
        reachable = True
        while not self._stopping.wait(self._interval_s):
            try:
                self.ask()
            except (Unreachable, HttpError) as error:
                self.failures += 1
                if reachable:
                    logger.warning("going on with who was on the node before: %s", error)
                reachable = False
                continue
            except Exception:
                # Any error: if this thread ended, the agent's word would be stale for good.
                self.failures += 1
                if reachable:
                    logger.exception("going on with who was on the node before: the agent's word cannot be taken")
                reachable = False
                continue
            if not reachable:
                logger.info("the agent answers again")
            reachable = True
