"""The executor's main thread: one inbox in, updates and corrections out; it owns all there is to know of the tasks."""

from __future__ import annotations

import base64
import binascii
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from serenity.daemon.clock import Clock
from serenity.executor import updates
from serenity.executor.corrections.actuators import Allowance, Target
from serenity.executor.corrections.corrector import Corrector
from serenity.executor.guarding.actions import (
    Action,
    CloseValve,
    Concluded,
    Evict,
    Freeze,
    Hint,
    OpenValve,
    Release,
    TaskView,
    Throttle,
    name_of,
)
from serenity.executor.guarding.evictions import EVICT
from serenity.executor.inbox import (
    Acknowledged,
    Decided,
    Event,
    FrameworkSaid,
    Inbox,
    Kill,
    Launch,
    OverDisk,
    Shutdown,
    Subscribed,
)
from serenity.executor.journal import Journal
from serenity.executor.outcomes import Outcomes
from serenity.executor.records import AgentName, record_of
from serenity.executor.runner import TaskRunner
from serenity.executor.settings import ExecutorSettings
from serenity.executor.tasks.task import Ending, Failure, Instruction, Task
from serenity.qos.contention import Finding
from serenity.wire.messages import corrections
from serenity.wire.messages.corrections import Correction, Outcome
from serenity.wire.messages.node import TaskOnNode
from serenity.wire.messages.reasons import REASON_OF_CAUSE, Reason
from serenity.wire.messages.task_spec import TaskSpec, TaskSpecError

logger = logging.getLogger(__name__)

# Part of the agent's grace for our shutdown, kept back for SIGKILL, the last updates and their acknowledgement.
_KEPT_BACK_S = 1.5
_LEAST_TASK_GRACE_S = 0.5
_ACKNOWLEDGED_WITHIN_S = 1.0
_LOOK_AGAIN_S = 0.05
# A cgroup can be removed a moment after its last process has been reaped.
_REMOVE_AGAIN_S = 0.1


class Link(Protocol):
    """The agent, as main uses it."""

    @property
    def subscribed(self) -> bool: ...
    @property
    def settled(self) -> bool: ...
    @property
    def shutdown_grace_s(self) -> float: ...
    def update(self, status: dict[str, Any]) -> None: ...
    def message(self, data: str) -> None: ...


@dataclass
class _Stopping:
    """The executor is ending: its tasks have until `deadline_s`, their last updates a little longer than them."""

    deadline_s: float
    tasks_gone_s: float | None = None


class Executor:
    """`run` returns when the executor has been told to end, and nothing of it is left."""

    def __init__(
        self,
        link: Link,
        inbox: Inbox,
        settings: ExecutorSettings,
        clock: Clock,
        sandbox: Path,
        make_runner: Callable[[Callable[[Task, Instruction], None]], TaskRunner],
        corrector: Corrector,
    ) -> None:
        self._link = link
        self._inbox = inbox
        self._settings = settings
        self._clock = clock
        self._runner = make_runner(self._task_says)
        self._corrector = corrector
        self._journal = Journal(sandbox)
        self._outcomes = Outcomes(clock, link.message)
        self._agent = AgentName("", "")
        self._knows_killing = False
        self._refusing: str | None = None  # Why no launches are taken: the valve is closed.
        self._corrections: dict[str, str] = {}
        self._frozen: set[str] = set()
        self._stopping: _Stopping | None = None
        self.views: Mapping[str, TaskView] = {}  # Replaced as a whole; other threads may read it.
        self.on_subscribed: Callable[[Subscribed], None] = lambda _event: None
        self.on_tasks: Callable[[tuple[TaskOnNode, ...]], None] = lambda _tasks: None
        self.on_message: Callable[[str], None] = lambda _data: None
        self.measured: Callable[[str], Mapping[str, float]] = lambda _task: {}  # Of a task of late, by column.

    def run(self) -> None:
        try:
            while not self._done():
                events, ready = self._inbox.wait(self._timeout_s())
                for event in events:
                    self._handle(event)
                for file in ready:
                    self._runner.reported(file)
                self._runner.reap()
                self._runner.due()
                self._keep_in_force()
                self._outcomes.due()
                self._show_tasks()
        except Exception as error:
            tasks = [each.id for each in self._runner.tasks]
            self._leave_nothing()
            self._say_lost(tasks, f"the executor has failed: {error!r}")
            raise
        finally:
            self._leave_nothing()
            self._journal.close()

    def _leave_nothing(self) -> None:
        try:
            self._corrector.release_all()
        finally:
            self._runner.leave_nothing()

    def _say_lost(self, tasks: list[str], why: str) -> None:
        """Tells of tasks that were killed as we cannot look after them any more; the agent would know no reason."""
        for task_id in tasks:
            self._link.update(updates.refused(task_id, Failure(Reason.EXECUTOR_LOST, why)))
        deadline_s = self._clock.monotonic_s() + _ACKNOWLEDGED_WITHIN_S
        while self._link.subscribed and not self._link.settled and self._clock.monotonic_s() < deadline_s:
            self._inbox.wait(_LOOK_AGAIN_S)

    # -- events --------------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        match event:
            case Subscribed():
                logger.info("subscribed to agent %s (%s)", event.hostname, event.agent_id)
                self._agent = AgentName(event.agent_id, event.hostname)
                self._knows_killing = event.knows_killing
                self.on_subscribed(event)
            case Launch():
                self._launch(event.task)
            case Kill():
                self._kill(event)
            case Shutdown():
                self._stop(event.why)
            case Decided():
                for action in event.actions:
                    self._act(action)
            case OverDisk():
                self._runner.broke(event.task_id, event.breach)
            case FrameworkSaid():
                self.on_message(event.data)
            case Acknowledged():
                pass  # It has woken us, and `_done` looks.

    def _launch(self, info: Mapping[str, Any]) -> None:
        task_id = info["task_id"]["value"]
        if self._runner.task(task_id) is not None:
            logger.warning("%s runs already; its second launch is ignored", task_id)
            return
        if self._stopping is not None or self._refusing is not None:
            why = Failure(Reason.LAUNCH_REFUSED, self._refusing or "the executor is ending")
            self._link.update(updates.refused(task_id, why))
            return
        try:
            spec = TaskSpec.decode(base64.b64decode(info.get("data", "")))
        except (TaskSpecError, binascii.Error) as error:
            self._link.update(updates.refused(task_id, Failure(Reason.LAUNCH_FAILED, str(error))))
            return
        logger.info("launching %s of job %s", task_id, spec.job_name)
        self._runner.launch(task_id, spec)

    def _kill(self, event: Kill) -> None:
        task = self._runner.task(event.task_id)
        if task is None:
            # The task has ended, and its terminal update is on its way; or it never was here, and the agent knows.
            logger.info("told to kill %s, which does not run here", event.task_id)
            return
        grace_s = event.grace_s if event.grace_s is not None else task.spec.grace_s
        self._runner.end(task.id, Ending(Reason.KILLED_BY_USER, self._clock.now_s(), grace_s))

    def _stop(self, why: str) -> None:
        if self._stopping is not None:
            return
        grace_s = max(_LEAST_TASK_GRACE_S, self._link.shutdown_grace_s - _KEPT_BACK_S)
        logger.info("told to end by %s: %d tasks have %.1f s", why, len(self._runner.tasks), grace_s)
        self._stopping = _Stopping(self._clock.monotonic_s() + grace_s)
        for task in self._runner.tasks:
            ending = Ending(Reason.EXECUTOR_LOST, self._clock.now_s(), min(grace_s, task.spec.grace_s))
            self._runner.end(task.id, ending)

    # -- corrections -----------------------------------------------------------------------------

    def _act(self, action: Action) -> None:
        match action:
            case CloseValve():
                self._refusing = None if self._settings.dry_run else action.reason
            case OpenValve():
                self._refusing = None
            case Throttle():
                self._throttle(action)
            case Freeze():
                self._freeze(action)
            case Release():
                self._release(action)
            case Evict():
                self._evict(action)
            case Concluded():
                self._conclude(action)
            case Hint():
                who = " of ".join(each for each in (action.suspect.id, action.suspect.framework) if each)
                text = f"{who} is suspected first, and no executor here can correct it; no new slack meanwhile"
                self._report("hint", action.suspect.id, text, action.finding)

    def _throttle(self, action: Throttle) -> None:
        task = self._runner.task(action.task)
        if task is None or task.being_ended:
            return
        if self._settings.dry_run:
            outcome = f"would be throttled to {action.cores:.2f} cores"
        else:
            allowance, cause = Allowance(action.cores, action.use_cores), action.finding.contention.cause
            outcome = self._corrector.throttle(self._target(task.id), allowance, cause, action.easing)
        thawed = task.id in self._frozen
        self._frozen.discard(task.id)
        self._corrections[task.id] = outcome
        if not action.easing or thawed:
            self._report("throttle", task.id, outcome, action.finding)

    def _freeze(self, action: Freeze) -> None:
        task = self._runner.task(action.task)
        if task is None or task.being_ended:
            return
        dry_run = self._settings.dry_run
        outcome = "would be frozen" if dry_run else self._corrector.freeze(self._target(task.id))
        self._corrections[task.id] = outcome
        self._frozen.add(task.id)
        self._report("freeze", task.id, outcome, action.finding)

    def _target(self, task_id: str) -> Target:
        return replace(self._runner.target(task_id), measured=self.measured(task_id))

    def _keep_in_force(self) -> None:
        for task_id, outcome in self._corrector.due().items():
            self._corrections[task_id] = outcome
            self._report("throttle", task_id, outcome, None)

    def _release(self, action: Release) -> None:
        self._frozen.discard(action.task)
        if self._corrections.pop(action.task, None) is not None:
            self._corrector.release(action.task)
            self._report("release", action.task, action.outcome, None)

    def _evict(self, action: Evict) -> None:
        task = self._runner.task(action.task)
        if task is None or task.being_ended:
            return
        finding = action.decision.finding
        if self._settings.dry_run:
            self._report("evict", task.id, "would be evicted", finding)
            return
        reason = REASON_OF_CAUSE[finding.contention.cause]
        grace_s = min(task.spec.grace_s, self._settings.evict_grace_s)
        self._report("evict", task.id, f"SIGTERM, grace {grace_s:.1f} s", finding)
        self._runner.end(task.id, Ending(reason, self._clock.now_s(), grace_s, action.decision))

    def _conclude(self, action: Concluded) -> None:
        step = action.step
        self._journal.append(Outcome(at=step.at, task=action.task, action=step.action, outcome=step.outcome))
        if step.action == EVICT and not self._settings.dry_run:
            logger.info("the eviction of %s: %s", action.task, step.outcome)
            self._outcomes.known(action.task, step.outcome)

    def _report(self, action: corrections.Action, task_id: str, outcome: str, finding: Finding | None) -> None:
        protected = finding.contention.protected if finding is not None else None
        correction = Correction(
            at=self._clock.now_s(),
            action=action,
            task=task_id,
            outcome=outcome,
            protected=name_of(protected) if protected is not None else None,
            protected_framework=protected.framework if protected is not None else "",
            protected_job=protected.job if protected is not None else "",
            cause=finding.contention.cause if finding is not None else None,
            severity=round(finding.contention.severity, 4) if finding is not None else None,
            dry_run=self._settings.dry_run,
        )
        logger.info("%s %s for %s: %s", action, task_id, correction.protected or "-", outcome)
        self._journal.append(correction)
        self._link.message(correction.encode())

    # -- what becomes of tasks -------------------------------------------------------------------

    def _task_says(self, task: Task, instruction: Instruction) -> None:
        if instruction is Instruction.SAY_RUNNING:
            self._link.update(updates.simple(task.id, "TASK_RUNNING"))
        elif instruction is Instruction.SAY_KILLING and self._knows_killing:
            self._link.update(updates.simple(task.id, "TASK_KILLING"))
        elif instruction is Instruction.FINISH:
            self._corrections.pop(task.id, None)
            self._frozen.discard(task.id)
            self._link.update(self._terminal(task))

    def _terminal(self, task: Task) -> dict[str, Any]:
        if task.failure is not None:
            logger.info("%s could not be started: %s", task.id, task.failure.text)
            return updates.refused(task.id, task.failure)
        if task.ending is None:
            assert task.exit is not None
            logger.info("%s %s", task.id, updates.exit_text(task.exit))
            return updates.exited(task)
        record_id = uuid.uuid4().hex
        outcome = self._outcomes.recorded(task.id, record_id) if task.ending.decision is not None else None
        record = record_of(task, record_id, self._agent, self._clock.monotonic_s(), outcome)
        logger.info("%s: %s", task.id, record.line())
        self._journal.append(record)
        return updates.killed(task, record)

    def _show_tasks(self) -> None:
        """To the guard, and to the estimator when they have changed."""
        views = {
            task.id: TaskView(task.id, task.spec.cpus, task.being_ended, self._corrections.get(task.id, ""))
            for task in self._runner.tasks
            if task.at_work
        }
        if views.keys() != self.views.keys():
            self.on_tasks(self._runner.on_node())
        self.views = views

    # -- the loop's time -------------------------------------------------------------------------

    def _timeout_s(self) -> float | None:
        now_s = self._clock.monotonic_s()
        times = [self._runner.next_s, self._corrector.next_s, self._outcomes.next_s]
        if self._stopping is not None:
            times.append(now_s + _REMOVE_AGAIN_S)
        return min((max(0.0, each - now_s) for each in times if each is not None), default=None)

    def _done(self) -> bool:
        stopping = self._stopping
        if stopping is None or self._runner.tasks:
            return False
        now_s = self._clock.monotonic_s()
        if stopping.tasks_gone_s is None:
            stopping.tasks_gone_s = now_s
        if not self._runner.remove_cgroups() and now_s < stopping.deadline_s:
            return False
        if self._link.settled or not self._link.subscribed:
            return True
        # An agent that is ending itself acknowledges nothing, and kills us in the middle of our undoing.
        return now_s > stopping.tasks_gone_s + _ACKNOWLEDGED_WITHIN_S
