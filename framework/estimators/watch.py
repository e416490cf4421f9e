"""Looks at the cluster for the roll-out: what the master says of its agents, and what a failed estimator has said."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from serenity.daemon.clock import Clock
from serenity.framework.core import Core
from serenity.framework.estimators.agent import AgentSeen
from serenity.framework.estimators.task import TaskId
from serenity.framework.loop import Loop, LoopEnded
from serenity.framework.mesos.agent_files import AgentFiles
from serenity.framework.store.errors import StoreError
from serenity.wire.mesos.leader import LeadingMaster
from serenity.wire.mesos.state import MasterReader
from serenity.wire.transport.access import Access
from serenity.wire.transport.http import Endpoint, HttpError, Unreachable

logger = logging.getLogger(__name__)

# Between looks: at least so long, and so many times as long as the last look took, which in a large cluster is long.
_PAUSE_S, _PAUSE_PER_LOOK = 2.0, 200.0
_PAUSE_BUSY_S, _PAUSE_BUSY_PER_LOOK = 0.5, 20.0
_LONGEST_PAUSE_S = 60.0
_READ_S = 5.0
# Each agent that does not answer takes `_READ_S`, and launches wait for the next look.
_EXPLAINED_A_LOOK = 4
# So much of stderr's end is read; the last line is in it.
_TAIL_BYTES = 4096
_LONGEST_WORDS = 300
_OURS = "serenity estimator: "
# The task's executor, Mesos' own, writes there too.
_NOT_OURS = ("received ", "starting task ", "forked command ", "command ", "sending sig", "killing ", "shutting down")


@dataclass(frozen=True, slots=True)
class _Failed:
    """An estimator that has failed, for a reason that is not known yet."""

    agent_id: str
    hostname: str
    agent_url: str
    task: TaskId


class Watch:
    """A thread that tells the core's roll-out what it sees; it decides nothing."""

    def __init__(self, loop: Loop, leading: Callable[[], LeadingMaster], access: Access, clock: Clock) -> None:
        self._loop = loop
        self._leading = leading
        self._access = access
        self._clock = clock
        self._stopping = threading.Event()
        self._told: str | None = None

    def start(self) -> None:
        threading.Thread(target=self._run, name="estimators", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        pause_s = _PAUSE_BUSY_S
        while not self._stopping.wait(pause_s):
            try:
                pause_s = self._look()
                self._told = None
            except (Unreachable, HttpError, StoreError, LoopEnded, TimeoutError, KeyError) as error:
                if self._told is None:
                    logger.warning("no estimator is rolled out until it is known what agents there are: %s", error)
                self._told = str(error)
            except Exception as error:
                # Neither will the next look do better.
                pause_s = _LONGEST_PAUSE_S
                if self._told != repr(error):
                    logger.exception("this is a bug in Serenity; no estimator is rolled out until it is mended")
                self._told = repr(error)

    def _look(self) -> float:
        """Seconds until the next one.

        Raises Unreachable, HttpError, StoreError, LoopEnded, TimeoutError or KeyError.
        """
        asked_at_s = self._clock.monotonic_s()
        agents = MasterReader(self._leading(), access=self._access).agents()
        took_s = self._clock.monotonic_s() - asked_at_s

        def tell(core: Core) -> tuple[bool, list[_Failed], str | None]:
            rollout = core.rollout
            role = rollout.plan.template.role
            rollout.looked([AgentSeen.from_json(each, role) for each in agents], asked_at_s)
            # No agent leaves the core's thread: while we ask one, its next task may fail.
            failed = [
                _Failed(each.id, each.hostname, each.url, each.failed_task)
                for each in rollout.unexplained[:_EXPLAINED_A_LOOK]
                if each.url is not None and each.failed_task is not None
            ]
            return rollout.busy, failed, core.framework_id

        busy, failed, framework_id = self._loop.ask(tell)
        for each in failed:
            self._explain(each, framework_id or "")
        least_s, times = (_PAUSE_BUSY_S, _PAUSE_BUSY_PER_LOOK) if busy else (_PAUSE_S, _PAUSE_PER_LOOK)
        return min(_LONGEST_PAUSE_S, max(least_s, times * took_s))

    def _explain(self, failed: _Failed, framework_id: str) -> None:
        try:
            files = AgentFiles(Endpoint.parse(failed.agent_url), self._access, _READ_S)
            words = last_words(files, framework_id, failed.task)
        except (Unreachable, HttpError, ValueError) as error:
            logger.info("what the estimator on %s said last cannot be read: %r", failed.hostname, error)
            words = ""
        self._loop.tell(lambda core: core.rollout.explained(failed.agent_id, failed.task, words))


def last_words(files: AgentFiles, framework_id: str, task: TaskId) -> str:
    """The last line of a task's stderr; empty where there is none.  Raises Unreachable or HttpError."""
    sandbox = files.sandbox(framework_id, str(task))
    if sandbox is None:
        return ""
    stderr = f"{sandbox}/stderr"
    end = files.read(stderr, max(0, files.size(stderr) - _TAIL_BYTES), _TAIL_BYTES)
    return last_complaint(end.decode("utf-8", "replace"))


def last_complaint(stderr: str) -> str:
    """What an estimator, or the shell that was to start it, has said last; what it merely logs is no complaint."""
    lines = [each.strip() for each in stderr.splitlines()]
    complaints = [each for each in lines if each and not each.lower().startswith(_NOT_OURS) and " INFO " not in each]
    said = [each for each in complaints if each.startswith(_OURS)] or complaints
    return said[-1].removeprefix(_OURS)[:_LONGEST_WORDS] if said else ""
