"""The sampler: all sources together, one frame at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from serenity.daemon.clock import Clock
from serenity.qos import frame
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Frame, Node
from serenity.qos.sources import network_namespace
from serenity.qos.sources.agent_perf import AgentPerf
from serenity.qos.sources.counters import Counters
from serenity.qos.sources.draft import Draft, Faults, Row
from serenity.qos.sources.files import NODE, FileBudget, KeptFiles
from serenity.qos.sources.indicator import Declaration, IndicatorError, Rule, declaration, reach
from serenity.qos.sources.indicators import Indicators
from serenity.qos.sources.node_usage import NodeUsage, llc_bytes
from serenity.qos.sources.places import Places
from serenity.qos.sources.processes import ProcessTable
from serenity.qos.sources.resctrl import Resctrl
from serenity.qos.sources.residents import Residents
from serenity.qos.sources.roster import Look, Roster
from serenity.qos.sources.run_delay import RunDelay
from serenity.qos.sources.turns import Turns
from serenity.qos.sources.usage import Usage
from serenity.wire.mesos.state import Container
from serenity.wire.messages.node import ESTIMATOR_LABEL, TaskOnNode


class _Keeper(Protocol):
    def keep(self, row_ids: Collection[str]) -> None:
        """Forgets rows that are gone."""


class _Source(_Keeper, Protocol):
    def read(self, draft: Draft) -> None:
        """Fills what it can; a failure for one container is counted, and the others are read all the same."""

    def close(self) -> None:
        """Undoes the source's changes to the machine."""


class Sampler:
    """Makes a frame of all that runs on the node.  One for each node: the estimator's, or an executor's own.

    Used by one thread; `declare` and `withdraw` may come from others.
    """

    def __init__(
        self,
        roster: Roster,
        clock: Clock,
        rules: Sequence[Rule] = (),
        *,
        of_node: bool = False,
        max_readings: int = 2000,
        proc: Path = Path("/proc"),
    ) -> None:
        """`rules`: indicators from the agent's configuration.

        `of_node`: this is the one sampler that may change the machine for its purpose (resctrl
        groups).  `max_readings`: see `RunDelay`.
        """
        self._roster = roster
        self._clock = clock
        self._rules = rules
        self._proc = proc
        self._faults = Faults()
        self._declared: dict[str, tuple[TaskOnNode, ...]] = {}
        budget = FileBudget()
        self._files = KeptFiles(budget)
        self._places = Places(proc)
        self._indicators = Indicators(clock, self._faults)
        residents = Residents(clock, self._places, self._files, proc)
        # Where two sources fill the same column the later one counts.
        self._sources: tuple[_Source, ...] = (
            Usage(clock, self._places, self._faults, self._files, residents, proc),
            RunDelay(clock, self._faults, self._files, residents, max_readings, proc),
            NodeUsage(clock, self._faults, self._files, proc),
            AgentPerf(clock),
            Counters(clock, self._places, self._faults, budget),
            *([Resctrl(clock, self._faults, self._files, residents, proc=proc)] if of_node else []),
        )
        self._keepers: tuple[_Keeper, ...] = (
            *(self._faults, self._places, self._files, residents, self._indicators),
            *self._sources,
        )
        # The last look's rows by container, and the last frame's containers: mostly these are the same again.
        self._made: dict[str, tuple[Container, Row]] = {}
        self._containers: tuple[frame.Container, ...] = ()
        self._row_ids: list[str] = []
        self._llc_bytes = llc_bytes()
        self.look: Look | None = None  # The agent's report that the last frame rests on.
        self.last_cost_s = 0.0  # CPU time of the last sample.

    @property
    def faults(self) -> Counter[str]:
        """How many readings failed, by source."""
        return self._faults.counts

    def declare(self, container_id: str, tasks: Collection[TaskOnNode]) -> None:
        """The best-effort executor in that container runs these tasks: each gets a row, and the executor none."""
        self._declared[container_id] = tuple(tasks)

    def withdraw(self, container_id: str) -> None:
        """No executor declares tasks in that container any more: it is one row again."""
        self._declared.pop(container_id, None)

    def sample(self, now: float) -> Frame:
        """One frame, at time `now` (seconds since the epoch).

        Readings beside the sources': ``agent_age_s``, how old the agent's last report is, missing before the first;
        ``held_cpus`` and ``held_mem_bytes``, the revocable resources that are allocated by that report.
        """
        turns = Turns()
        look = self.look = self._roster.latest
        draft = Draft(self._rows(look), lambda: ProcessTable.look(self._proc, turns), turns)
        row_ids = [row.id for row in draft.rows]
        if row_ids != self._row_ids:
            self._row_ids = row_ids
            for each in self._keepers:
                each.keep(row_ids)
        self._indicators.ask(draft.rows)
        for source in self._sources:
            turns.give()
            try:
                source.read(draft)
            except (OSError, ValueError) as error:
                # The source failed as a whole; it counts failures for single containers itself.
                self._faults.count(type(source).__name__, NODE, error)
        turns.give()
        node = Node()
        if look is not None:
            for container_id, why in look.unresolved.items():
                self._faults.count("docker", container_id, why)
            node = Node(cpus=look.identity.cpus, mem_bytes=look.identity.mem_bytes, llc_bytes=self._llc_bytes)
            held_cpus, held_mem_bytes = look.held
            draft.readings["agent_age_s"] = self._clock.monotonic_s() - look.asked_at_s
            draft.readings["held_cpus"], draft.readings["held_mem_bytes"] = held_cpus, float(held_mem_bytes)
        self._indicators.read(draft)
        made = draft.frame(now, node)
        if made.containers != self._containers:
            self._containers = made.containers
        self.last_cost_s = turns.cost_s
        return replace(made, containers=self._containers)  # Stages check if it is the same tuple.

    def close(self) -> None:
        self._indicators.close()
        for each in self._sources:
            each.close()
        self._files.close()

    def _rows(self, look: Look | None) -> list[Row]:
        if look is None:
            return []
        declared, before, self._made = dict(self._declared), self._made, {}
        taken = {each.container_id for each in look.containers}
        rows = []
        for container in look.containers:
            container_id = container.container_id
            if _is_estimator(container):
                continue
            if container.revocable and container_id in declared:
                rows += self._task_rows(container, declared[container_id], taken)
                continue
            known = before.get(container_id)
            if known is None or (known[0] is not container and known[0] != container):
                known = (container, _container_row(container))
            self._made[container_id] = known
            rows.append(known[1] if container.revocable else self._production(known[1], container, look))
        return rows

    def _task_rows(self, container: Container, tasks: Collection[TaskOnNode], taken: set[str]) -> list[Row]:
        """Executors name their tasks as they like; a name that is a row's already must not hide that row."""
        rows = []
        for each in tasks:
            if each.task_id in taken:
                self._faults.count("task", each.task_id, f"executor {container.executor_id} gave it another's name")
                continue
            taken.add(each.task_id)
            rows.append(_task_row(container, each))
        return rows

    def _production(self, row: Row, container: Container, look: Look) -> Row:
        """The row with its indicator as declared now.  Not kept: its process decides whether it may be asked."""
        declared = self._declaration(container, row.container.job, look.identity.ip)
        if declared is None:
            return row
        return replace(row, container=replace(row.container, indicator=declared.indicator), declaration=declared)

    def _declaration(self, container: Container, job: str, node_ip: str) -> Declaration | None:
        """The declaration in the agent's configuration, else that of the first task whose labels make a valid one."""
        configured = next((rule.declaration for rule in self._rules if rule.matches(job)), None)
        if configured is not None or container.pid is None:
            return configured
        for task in container.tasks:
            try:
                found = declaration(task.labels)
                if found is not None:
                    return reach(found, task, node_ip, container.pid, self._has_own_network(container.pid))
            except IndicatorError as error:
                self._faults.count("sli", container.container_id, error)
        return None

    def _has_own_network(self, pid: int) -> bool:
        try:
            return network_namespace.has_own(pid)
        except OSError:
            return False  # The process is gone.


def _is_estimator(container: Container) -> bool:
    """Whether it is Serenity's own estimator, for which nothing is to be throttled or kept away.

    Any framework may label its tasks so, but harms only itself: they are not protected, and their
    allocation is no slack.  A label does not hide best-effort tasks.
    """
    return not container.revocable and any(ESTIMATOR_LABEL in each.labels for each in container.tasks)


def _container_row(container: Container) -> Row:
    """Its job is the name (or else the id) of its task; unless it has exactly one task, its executor's id."""
    task = container.tasks[0] if len(container.tasks) == 1 else None
    made = frame.Container(
        id=container.container_id,
        role=BEST_EFFORT if container.revocable else PRODUCTION,
        job=(task.name or task.task_id) if task is not None else container.executor_id,
        cpus=container.cpus,
        mem_bytes=float(container.mem_bytes),
        framework=container.framework_name or container.framework_id,
        executor=container.executor_id,
        task=task.task_id if task is not None else "",
        container=container.container_id,
    )
    return Row(made, container.pid, docker=container.docker, perf=container.perf)


def _task_row(container: Container, task: TaskOnNode) -> Row:
    made = frame.Container(
        id=task.task_id,
        role=BEST_EFFORT,
        job=task.job,
        cpus=task.cpus,
        mem_bytes=float(task.mem_bytes),
        framework=container.framework_name or container.framework_id,
        executor=container.executor_id,
        task=task.task_id,
        container=container.container_id,
    )
    return Row(made, task.pid, task.cgroup)
