"""Looks at the cluster for the roll-out: what the master says of its agents, and what a failed estimator has said."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from urllib.parse import quote

from serenity.daemon.clock import Clock
from serenity.framework.core import Core
from serenity.framework.estimators.agent import Agent, AgentSeen
from serenity.framework.estimators.task import TaskId
from serenity.framework.loop import Loop, LoopEnded
from serenity.framework.store.errors import StoreError
from serenity.wire.mesos.leader import LeadingMaster
from serenity.wire.mesos.state import MasterReader
from serenity.wire.transport.access import Access
from serenity.wire.transport.http import Endpoint, HttpError, Unreachable, get_json

logger = logging.getLogger(__name__)

# Between looks: at least so long, and so many times as long as the last one took, for a large cluster's take a while.
_PAUSE_S, _PAUSE_PER_LOOK = 2.0, 200.0
_PAUSE_BUSY_S, _PAUSE_BUSY_PER_LOOK = 0.5, 20.0
_LONGEST_PAUSE_S = 60.0
_READ_S = 5.0
# Agents that do not answer take so long each, and launches wait for the next look.
_EXPLAINED_A_LOOK = 4
# Of stderr, from its end; the last line is in it.
_TAIL_BYTES = 4096
_LONGEST_WORDS = 300
_OURS = "serenity estimator: "
# The task's executor, Mesos' own, writes there too.
_NOT_OURS = ("received ", "starting task ", "forked command ", "command ", "sending sig", "killing ", "shutting down")


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
            except Exception:
                logger.exception("this is a bug in Serenity")

    def _look(self) -> float:
        """Seconds until the next one.

        Raises Unreachable, HttpError, StoreError, LoopEnded, TimeoutError or KeyError.
        """
        asked_at_s = self._clock.monotonic_s()
        agents = MasterReader(self._leading(), access=self._access).agents()
        took_s = self._clock.monotonic_s() - asked_at_s

        def tell(core: Core) -> tuple[bool, Sequence[Agent], str | None]:
            rollout = core.rollout
            role = rollout.plan.template.role
            rollout.looked([AgentSeen.from_json(each, role) for each in agents], asked_at_s)
            return rollout.busy, rollout.unexplained, core.framework_id

        busy, unexplained, framework_id = self._loop.ask(tell)
        for agent in unexplained[:_EXPLAINED_A_LOOK]:
            self._explain(agent, framework_id or "")
        least_s, times = (_PAUSE_BUSY_S, _PAUSE_BUSY_PER_LOOK) if busy else (_PAUSE_S, _PAUSE_PER_LOOK)
        return min(_LONGEST_PAUSE_S, max(least_s, times * took_s))

    def _explain(self, agent: Agent, framework_id: str) -> None:
        assert agent.failed_task is not None and agent.url is not None
        try:
            words = last_words(Endpoint.parse(agent.url), framework_id, agent.failed_task, self._access)
        except (Unreachable, HttpError, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            # The last five: it answers, but not as Mesos does.
            logger.info("what the estimator on %s said last cannot be read: %r", agent.hostname, error)
            words = ""
        agent_id, task = agent.id, agent.failed_task
        self._loop.tell(lambda core: core.rollout.explained(agent_id, task, words))


def last_words(agent: Endpoint, framework_id: str, task: TaskId, access: Access) -> str:
    """The last line of a task's stderr; empty where there is none.  Raises Unreachable or HttpError."""
    state = get_json(agent, "/state", access=access, timeout_s=_READ_S)
    for framework in [*state.get("frameworks", []), *state.get("completed_frameworks", [])]:
        for executor in [*framework.get("executors", []), *framework.get("completed_executors", [])]:
            if framework["id"] == framework_id and executor["id"] == str(task):
                return _last_line(agent, f"{executor['directory']}/stderr", access)
    return ""


def _last_line(agent: Endpoint, path: str, access: Access) -> str:
    def read(offset: int) -> dict[str, str | int]:
        target = f"/files/read?path={quote(path)}&offset={offset}&length={_TAIL_BYTES}"
        return dict(get_json(agent, target, access=access, timeout_s=_READ_S))

    size = int(read(-1)["offset"])  # Of -1 Mesos says how long the file is.
    return last_complaint(str(read(max(0, size - _TAIL_BYTES))["data"]))


def last_complaint(stderr: str) -> str:
    """What an estimator, or the shell that was to start it, has said last; what it merely logs is no complaint."""
    lines = [each.strip() for each in stderr.splitlines()]
    complaints = [each for each in lines if each and not each.lower().startswith(_NOT_OURS) and " INFO " not in each]
    said = [each for each in complaints if each.startswith(_OURS)] or complaints
    return said[-1].removeprefix(_OURS)[:_LONGEST_WORDS] if said else ""
