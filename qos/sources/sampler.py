"""The sampler: all sources together, one frame at a time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from serenity.daemon.clock import Clock
from serenity.qos import frame
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Frame, Node
from serenity.qos.sources.draft import Draft, Faults, Row
from serenity.qos.sources.indicator import Declaration, IndicatorError, declaration
from serenity.qos.sources.indicators import Indicators
from serenity.qos.sources.places import Places
from serenity.qos.sources.processes import ProcessTable
from serenity.qos.sources.roster import Look, Roster
from serenity.qos.sources.run_delay import RunDelay
from serenity.qos.sources.usage import NodeUsage, Usage
from serenity.wire.mesos_state import Container
from serenity.wire.node import TaskOnNode


class Sampler:
    """Makes a frame of all that runs on the node.  One a node: the estimator's, or an executor's own.

    Used by one thread; `declare` and `withdraw` may come from others.
    """

    def __init__(self, roster: Roster, clock: Clock, max_threads: int = 2000, proc: Path = Path("/proc")) -> None:
        self._roster = roster
        self._clock = clock
        self._proc = proc
        self._faults = Faults()
        self._declared: dict[str, tuple[TaskOnNode, ...]] = {}
        self._places = Places(proc)
        self._usage = Usage(clock, self._places, self._faults)
        self._run_delay = RunDelay(clock, self._places, self._faults, max_threads, proc)
        self._node = NodeUsage(clock, self._faults, proc)
        self._indicators = Indicators(clock, self._faults)
        self.last_cost_s = 0.0  # CPU time of the last sample.

    @property
    def faults(self) -> Counter[str]:
        """How many readings failed, by what was read."""
        return self._faults.counts

    def declare(self, container_id: str, tasks: Collection[TaskOnNode]) -> None:
        """The best-effort executor in that container runs these tasks: they get rows, it has none."""
        self._declared[container_id] = tuple(tasks)

    def withdraw(self, container_id: str) -> None:
        """Nobody speaks for that container any more: it is one row again."""
        self._declared.pop(container_id, None)

    def sample(self, now: float) -> Frame:
        """One frame, at time `now` (seconds since the epoch).

        Readings beside the sources': ``agent_age_s``, how old the agent's word is, missing while it has not said any;
        ``held_cpus`` and ``held_mem_bytes``, allocated to best-effort by that word.
        """
        before_s = time.thread_time()
        look = self._roster.latest
        draft = Draft(self._rows(look), lambda: ProcessTable.look(self._proc))
        row_ids = [row.id for row in draft.rows]
        for each in (self._faults, self._places, self._usage, self._run_delay, self._indicators):
            each.keep(row_ids)
        self._indicators.ask(draft.rows)
        self._usage.read(draft)
        self._run_delay.read(draft)
        self._node.read(draft)
        node = Node()
        if look is not None:
            node = Node(cpus=look.identity.cpus, mem_bytes=look.identity.mem_bytes)
            held_cpus, held_mem_bytes = look.held
            draft.readings["agent_age_s"] = self._clock.monotonic_s() - look.asked_at_s
            draft.readings["held_cpus"], draft.readings["held_mem_bytes"] = held_cpus, float(held_mem_bytes)
        self._indicators.read(draft)
        self.last_cost_s = time.thread_time() - before_s
        return draft.frame(now, node)

    def close(self) -> None:
        self._indicators.close()

    def _rows(self, look: Look | None) -> list[Row]:
        if look is None:
            return []
        declared = dict(self._declared)
        rows = []
        for container in look.containers:
            if not container.revocable:
                rows.append(self._production(container, look))
            elif container.container_id in declared:
                rows += [_task_row(container, task) for task in declared[container.container_id]]
            else:
                rows.append(Row(_row_container(container, BEST_EFFORT), container.pid))
        return rows

    def _production(self, container: Container, look: Look) -> Row:
        made = _row_container(container, PRODUCTION)
        declared = self._declaration(container, {"127.0.0.1", look.identity.ip})
        if declared is not None:
            made = replace(made, indicator=declared.indicator)
        return Row(made, container.pid, declaration=declared)

    def _declaration(self, container: Container, node_addresses: Collection[str]) -> Declaration | None:
        """Of the first task that declares an indicator."""
        for task in container.tasks:
            try:
                found = declaration(task.labels, node_addresses)
            except IndicatorError as error:
                self._faults.count("sli", container.container_id, error)
                continue
            if found is not None:
                return found
        return None


def _row_container(container: Container, role: frame.Role) -> frame.Container:
    """A container's row.  Its job is its task's name; of several tasks, their executor's id."""
    task = container.tasks[0] if len(container.tasks) == 1 else None
    return frame.Container(
        id=container.container_id,
        role=role,
        job=(task.name or task.task_id) if task is not None else container.executor_id,
        cpus=container.cpus,
        mem_bytes=float(container.mem_bytes),
        framework=container.framework_name or container.framework_id,
        executor=container.executor_id,
        task=task.task_id if task is not None else "",
        container=container.container_id,
    )


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
