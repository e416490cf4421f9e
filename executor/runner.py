"""Runs tasks: carries out what their life says (`tasks/task.py`) on real processes, and reaps, in this one place.

Everything here happens in the main thread.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from serenity.daemon.clock import Clock
from serenity.executor import lowest_priority
from serenity.executor.corrections.actuators import Target
from serenity.executor.corrections.corrector import Corrector
from serenity.executor.inbox import Inbox
from serenity.executor.tasks.cgroups import OwnedCgroup, TaskCgroups
from serenity.executor.tasks.disk_watch import DiskWatch
from serenity.executor.tasks.launch import LaunchError, Surroundings, launch, read_report
from serenity.executor.tasks.limits import Breach, TaskLimits
from serenity.executor.tasks.processes import Status
from serenity.executor.tasks.task import Ending, Exit, Failure, Instruction, Instructions, State, Task
from serenity.executor.tasks.trees import Trees
from serenity.wire.messages.node import TaskOnNode
from serenity.wire.messages.reasons import Reason
from serenity.wire.messages.task_end import TaskEnd
from serenity.wire.messages.task_spec import TaskSpec

logger = logging.getLogger(__name__)

_BURIED_WITHIN_S = 2.0
_LOOK_EVERY_S = 1.0  # At what tasks use of their limits.


@dataclass
class _Running:
    task: Task
    cgroup: OwnedCgroup | None
    limits: TaskLimits
    report: int | None = None  # Until the command runs, or could not be started.


class TaskRunner:
    """`say` is told of SAY_RUNNING, SAY_KILLING and FINISH; after FINISH the task is forgotten."""

    def __init__(
        self,
        say: Callable[[Task, Instruction], None],
        inbox: Inbox,
        clock: Clock,
        trees: Trees,
        corrector: Corrector,
        cgroups: TaskCgroups,
        disk: DiskWatch,
        around: Surroundings,
    ) -> None:
        self._say = say
        self._inbox = inbox
        self._clock = clock
        self._trees = trees
        self._corrector = corrector
        self._cgroups = cgroups
        self._disk = disk
        self._around = around
        self._look_s = 0.0
        self._running: dict[str, _Running] = {}
        self._emptied: list[OwnedCgroup] = []  # To be removed; the kernel may take a moment to let go.

    @property
    def tasks(self) -> list[Task]:
        return [each.task for each in self._running.values()]

    def task(self, task_id: str) -> Task | None:
        found = self._running.get(task_id)
        return found.task if found is not None else None

    def target(self, task_id: str) -> Target:
        return Target(task_id, self._running[task_id].cgroup)

    def on_node(self) -> tuple[TaskOnNode, ...]:
        """The tasks that are at work, as the estimator wants to know them."""
        return tuple(
            TaskOnNode(
                task_id=task.id,
                job=task.spec.job_name,
                pid=task.pid,
                cpus=task.spec.cpus,
                mem_bytes=task.spec.mem_bytes,
                started_at=task.launched_at,
                cgroup=each.cgroup.path if each.cgroup is not None else None,
            )
            for each in self._running.values()
            if (task := each.task).pid is not None and task.at_work
        )

    @property
    def next_s(self) -> float | None:
        """When `due` is to be called next, monotonic."""
        if not self._running:
            return None
        return min([self._look_s, *(each.deadline_s for each in self.tasks if each.deadline_s is not None)])

    def launch(self, task_id: str, spec: TaskSpec) -> None:
        task = Task(task_id, spec, self._clock.now_s(), self._clock.monotonic_s())
        cgroup = self._cgroups.make()
        limits = TaskLimits(spec.mem_bytes, self._around.pids, cgroup)
        running = self._running[task_id] = _Running(task, cgroup, limits)
        try:
            limits.impose()
            if cgroup is not None and self._around.lowest_priority:
                lowest_priority.lower(cgroup)
            launched = launch(
                task_id, spec, self._around, cgroup.procs_files if cgroup is not None else self._around.outside
            )
        except LaunchError as error:
            self._follow(running, task.failed_to_start(error.failure, self._clock.monotonic_s()))
            return
        except OSError as error:
            failure = Failure(Reason.LAUNCH_REFUSED, f"the task's cgroup cannot be set up: {error}")
            self._follow(running, task.failed_to_start(failure, self._clock.monotonic_s()))
            return
        task.pid, running.report = launched.pid, launched.report
        self._trees.add(task_id, launched.pid, cgroup)
        self._inbox.watch(launched.report)
        self._disk.add(task_id, spec.disk_bytes or self._around.disk_bytes)

    def reported(self, file: int) -> None:
        """A launch's report can be read."""
        running = next((each for each in self._running.values() if each.report == file), None)
        if running is None:
            return
        self._inbox.unwatch(file)
        running.report = None
        failure = read_report(file, running.task.spec.argv)
        if failure is not None:
            self._follow(running, running.task.failed_to_start(failure, self._clock.monotonic_s()))
        else:
            self._look_at_priority(running)
            self._follow(running, running.task.started())

    def _look_at_priority(self, running: _Running) -> None:
        if not self._around.lowest_priority or running.task.pid is None:
            return
        with contextlib.suppress(OSError):  # It has ended.
            logger.info("%s runs with %s", running.task.id, lowest_priority.in_force(running.task.pid, running.cgroup))

    def end(self, task_id: str, ending: Ending) -> None:
        running = self._running[task_id]
        self._follow(running, running.task.end(ending, self._clock.monotonic_s()))

    def broke(self, task_id: str, breach: Breach) -> None:
        """Ends a task that has broken a limit: at once, as kernel and Mesos do."""
        running = self._running.get(task_id)
        if running is not None and not running.task.being_ended:
            self.end(task_id, self._ending(breach))

    def due(self) -> None:
        self._look_at_limits()
        for running in list(self._running.values()):
            self._follow(running, running.task.due(self._clock.monotonic_s(), self._clock.now_s()))
        self._bury()

    def reap(self) -> None:
        """Takes every child that has ended: leaders, and orphans that we adopted."""
        any_ended = False
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                ended = None
            if ended is None:
                break
            any_ended = True
            self._reap_one(ended.si_pid)
        if any_ended:
            self._bury()

    def leave_nothing(self) -> None:
        """The last resort, at the executor's own end: nothing that we started may stay."""
        for running in self._running.values():
            self._drop_report(running)
            self._thaw(running)
            self._seal(running)
            if running.cgroup is not None:
                self._emptied.append(running.cgroup)
        self._running.clear()
        deadline_s = self._clock.monotonic_s() + _BURIED_WITHIN_S
        while self._trees.kill_everything() or not self.remove_cgroups():
            self.reap()
            if self._clock.monotonic_s() > deadline_s:
                logger.error("left behind: %s", [each.path for each in self._emptied] or "processes that do not die")
                return
            time.sleep(0.01)

    def remove_cgroups(self) -> bool:
        """False while one is left."""
        self._emptied = [each for each in self._emptied if not each.remove()]
        return not self._emptied

    def _reap_one(self, pid: int) -> None:
        # A leader that was reaped before has given its pid away.
        leaders = (each for each in self._running.values() if each.task.exit is None)
        running = next((each for each in leaders if each.task.pid == pid), None)
        if running is not None and running.report is not None:
            self.reported(running.report)  # Its report is complete.
        _, status, usage = os.wait4(pid, os.WNOHANG)
        self._trees.reaped(pid)
        if running is None or running.task.state is State.ENDED:
            return
        code, signum = (None, os.WTERMSIG(status)) if os.WIFSIGNALED(status) else (os.WEXITSTATUS(status), None)
        exit_ = Exit(code, signum, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
        breach = running.limits.after_exit() if code != 0 else None
        ended_by = self._ending(breach) if breach is not None else None
        self._follow(running, running.task.leader_exited(exit_, self._clock.monotonic_s(), ended_by))

    def _ending(self, breach: Breach) -> Ending:
        return Ending(breach.reason, self._clock.now_s(), grace_s=0.0, detail=breach.text)

    def _look_at_limits(self) -> None:
        now_s = self._clock.monotonic_s()
        if now_s < self._look_s:
            return
        self._look_s = now_s + _LOOK_EVERY_S
        watched = any(each.limits.watched for each in self._running.values())
        members = self._trees.scan() if watched else {}
        for task_id, running in list(self._running.items()):
            breach = running.limits.look(members.get(task_id, []))
            if breach is not None:
                self.broke(task_id, breach)

    def _bury(self) -> None:
        """A task whose last process has ended has ended."""
        waiting = [each for each in self._running.values() if each.task.exit is not None]
        if waiting:
            found = self._trees.members_of({each.task.id for each in waiting})
            for running in waiting:
                if not found.get(running.task.id) and _is_empty(running, found):
                    self._follow(running, running.task.tree_is_empty(self._clock.monotonic_s()))
            self._trees.kill_strays()
        self.remove_cgroups()

    def _follow(self, running: _Running, instructions: Instructions) -> None:
        task = running.task
        for each in instructions:
            if each is Instruction.TERMINATE:
                self._corrector.let_end(task.id)
                self._thaw(running)
                self._trees.signal(task.id, signal.SIGTERM, signal.SIGCONT)
            elif each is Instruction.KILL:
                # What is stopped does not see that it can no longer fork, and so ends by our signal.
                self._trees.signal(task.id, signal.SIGSTOP)
                self._seal(running)
                self._trees.kill(task.id, running.cgroup)
                self._thaw(running)
            else:
                if each is Instruction.FINISH:
                    self._forget(running)
                self._say(task, each)

    @staticmethod
    def _seal(running: _Running) -> None:
        if running.cgroup is not None:
            with contextlib.suppress(OSError):  # Then the processes are stopped one by one, as without a cgroup.
                running.cgroup.seal()

    @staticmethod
    def _thaw(running: _Running) -> None:
        """Thaws the task, whoever has frozen it."""
        if running.cgroup is not None:
            try:
                running.cgroup.thaw()
            except FileNotFoundError:
                pass  # Its cgroup was removed, with nothing in it.
            except OSError as error:
                logger.warning("%s may be frozen, and then does not end: %s", running.task.id, error)

    def _forget(self, running: _Running) -> None:
        running.task.how_ended = _how_ended(running)
        self._disk.remove(running.task.id)
        self._drop_report(running)
        self._corrector.release(running.task.id)
        self._trees.remove(running.task.id)
        if running.cgroup is not None:
            self._emptied.append(running.cgroup)
            self.remove_cgroups()
        del self._running[running.task.id]

    def _drop_report(self, running: _Running) -> None:
        if running.report is not None:
            self._inbox.unwatch(running.report)
            os.close(running.report)
            running.report = None


def _is_empty(running: _Running, found: Mapping[str | None, Sequence[Status]]) -> bool:
    """Where no living process was `found`: one that forks and exits all the time is easily missed."""
    return not (running.cgroup.members() if running.cgroup is not None else found.get(None))


def _how_ended(running: _Running) -> TaskEnd:
    """Called before the cgroup, which knows most of it, is removed."""
    exit_, cpu_s, peak_bytes = running.task.exit, running.limits.cpu_s(), running.limits.peak_mem_bytes()
    if exit_ is None:
        return TaskEnd()
    return TaskEnd(
        exit_code=exit_.code,
        signal=exit_.signal,
        cpu_s=cpu_s if cpu_s is not None else exit_.cpu_s,
        peak_mem_bytes=peak_bytes if peak_bytes is not None else exit_.resident_bytes,
    )
