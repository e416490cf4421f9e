"""Who is on the node: the agent's word, refreshed beside the sampling, which never waits for it."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from serenity.daemon.clock import Clock
from serenity.wire.http import HttpError, Unreachable
from serenity.wire.mesos_state import AgentIdentity, AgentReader, Container

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """What the agent said at one moment.  `asked_at_s` is monotonic: nothing in it is older than that."""

    asked_at_s: float
    identity: AgentIdentity
    containers: tuple[Container, ...]

    @property
    def held(self) -> tuple[float, int]:
        """Cores and bytes allocated to best-effort: executors and tasks, those being launched included."""
        best_effort = [each for each in self.containers if each.revocable]
        return sum(each.cpus for each in best_effort), sum(each.mem_bytes for each in best_effort)


class Roster:
    """Asks the agent once an interval, in a thread of its own.  `latest` is what it said last."""

    def __init__(self, reader: AgentReader, clock: Clock, interval_s: float = 1.0) -> None:
        self._reader = reader
        self._clock = clock
        self._interval_s = interval_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="roster", daemon=True)
        self.latest: Look | None = None
        self.failures = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Does not wait for a request under way."""
        self._stopping.set()

    def ask(self) -> Look:
        """Asks now.  Raises Unreachable or HttpError; `latest` then stays what it was."""
        asked_at_s = self._clock.monotonic_s()
        before = self.latest.containers if self.latest is not None else ()
        look = self._reader.look(before)
        self.latest = Look(asked_at_s, look.identity, look.containers)
        return self.latest

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
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                # An agent that is starting answers with half a state.
                self.failures += 1
                logger.warning("the agent's state cannot be read: %r", error)
                continue
            if not reachable:
                logger.info("the agent answers again")
            reachable = True
