"""Who is on the node: the agent's word, refreshed beside the sampling, which never waits for it."""

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

# One request a second at most, however often we sample.  And however rarely, one in two: the agent's word is good for
# five seconds (slack.limits.stale_s), and every other request may be for processes.
LEAST_S, _MOST_S = 1.0, 2.0
# The agent's perf samples are ten seconds every minute unless it is told otherwise.
_PERF_INTERVAL_S = 10.0


@dataclass(frozen=True, slots=True)
class Look:
    """What the agent said at one moment.  `asked_at_s` is monotonic: nothing in it is older than that."""

    asked_at_s: float
    identity: AgentIdentity
    containers: tuple[Container, ...]
    unresolved: Mapping[str, str] = field(default_factory=dict)  # Why Docker does not tell a container's process.

    @property
    def held(self) -> tuple[float, int]:
        """Revocable cores and bytes that are allocated: to executors and tasks, those being launched included.

        What best-effort has of the regular ones, as a task on revocable cpus and regular memory, is no slack.
        """
        found = self.containers
        return sum(each.revocable_cpus for each in found), sum(each.revocable_mem_bytes for each in found)


def asking_interval_s(sampling_interval_s: float) -> float:
    """How far apart requests to the agent are."""
    return max(LEAST_S, min(sampling_interval_s, _MOST_S))


class Roster:
    """Asks the agent once an interval, in a thread of its own.  `latest` is what it said last.

    One request is for who is there; the next for their processes, if somebody is new or the agent's statistics are due.
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
        """All of it, at once, which may take two requests.  Raises as `ask_next` does."""
        look = self.ask_next()
        return self.ask_next() if self._processes_due else look

    def ask_next(self) -> Look:
        """One request.  Raises Unreachable or HttpError; `latest` then stays what it was."""
        now_s = self._clock.monotonic_s()
        if self.latest is not None and self._processes_due:
            self._processes_due, self._perf_due_s = False, now_s + _PERF_INTERVAL_S  # Whether it gets them or not.
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
        """With the pids of what Docker runs for the agent, which does not tell them."""
        found, silent = [], ""
        for each in seen:
            container = each
            if each.pid is None and each.docker:
                try:
                    # One that does not answer is not asked again in this look: it may take its time for each.
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
                self.ask_next()
            except (Unreachable, HttpError) as error:
                self.failures += 1
                if reachable:
                    logger.warning("going on with who was on the node before: %s", error)
                reachable = False
                continue
            except Exception:
                # Whatever it is: without this thread the agent's word would be stale for good.
                self.failures += 1
                if reachable:
                    logger.exception("going on with who was on the node before: the agent's word cannot be taken")
                reachable = False
                continue
            if not reachable:
                logger.info("the agent answers again")
            reachable = True
