"""The agent: runs tasks in executors, and passes their updates on.

A state machine without I/O.  Messages come from the master, calls from executors and resource
providers, news of containers from `container.Containers`, time from `tick`; what is to happen is
appended to `outbox` and carried out by `process.AgentProcess`.  It follows
``src/slave/slave.cpp``; where it knowingly does not, the method says so.

Its parts, in modules of their own: `task_launch`, `executor_calls`, `provider`, `updates`,
`checkpoint`, `recovery`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from serenity.localmesos import tasks
from serenity.localmesos.agent import executor_launch, recovery, task_launch
from serenity.localmesos.agent.checkpoint import Checkpoints, Recovered
from serenity.localmesos.agent.executor_calls import ExecutorCalls
from serenity.localmesos.agent.executor_launch import AgentSettings
from serenity.localmesos.agent.provider import ResourceProviders
from serenity.localmesos.agent.state import (
    MAX_COMPLETED_FRAMEWORKS,
    AgentState,
    Executor,
    ExecutorState,
    Framework,
    Termination,
    living,
)
from serenity.localmesos.agent.updates import StatusUpdates
from serenity.localmesos.messages import (
    AcknowledgeUpdate,
    AgentRegistered,
    DestroyContainer,
    EndAgent,
    ExecutorExited,
    KillTask,
    MessageToExecutor,
    Outbox,
    RunTask,
    Send,
    ShutdownAgent,
    ShutdownExecutor,
    ShutdownFramework,
    ToAgent,
    UpdateContainer,
    UpdateFramework,
    UpdateProviders,
    UpdateStatus,
)
from serenity.localmesos.tasks import Task
from serenity.wire.mesos.resources import Json

logger = logging.getLogger(__name__)


class Agent:
    def __init__(self, settings: AgentSettings, clock: Callable[[], float], recovered: Recovered | None = None) -> None:
        """`clock` gives Unix time that never goes back; `settings` have the id of the agent that is `recovered`."""
        self.settings = settings
        self.started_s = clock()
        self.state = AgentState.REGISTERING
        self.frameworks: dict[str, Framework] = {}
        self.completed: deque[Framework] = deque(maxlen=MAX_COMPLETED_FRAMEWORKS)
        self.outbox: Outbox = []
        self.clock = clock
        self.executor_calls = ExecutorCalls(self)
        self._updates = StatusUpdates() if recovered is None else recovered.updates
        self.checkpoints = Checkpoints(self.outbox, self._updates)
        known = {} if recovered is None else recovered.providers
        self.providers = ResourceProviders(self.outbox, self.checkpoints, known)
        self._end_reason: str | None = None
        recovery.begin(self, recovered)

    # -- messages of the master --------------------------------------------------------

    def receive(self, message: ToAgent) -> None:
        handlers: dict[type, Callable[[Any], None]] = {
            AgentRegistered: lambda registered: recovery.registered(self, registered),
            RunTask: lambda run: task_launch.run_task(self, run),
            KillTask: self._kill_task,
            ShutdownExecutor: self._shutdown_executor,
            ShutdownFramework: self._shutdown_framework,
            UpdateFramework: self._update_framework,
            AcknowledgeUpdate: self._acknowledge,
            MessageToExecutor: self._message,
            ShutdownAgent: self._shutdown,
        }
        handlers[type(message)](message)

    def _kill_task(self, message: KillTask) -> None:
        framework = self.frameworks.get(message.framework_id)
        if framework is None or framework.terminating:
            return
        executor = framework.executor_of(message.task_id)
        if executor is None:
            state = tasks.state_for("TASK_DROPPED", framework.capabilities)
            self.make_update(
                framework, message.task_id, state, "Cannot find executor", "REASON_EXECUTOR_TERMINATED", None
            )
        elif message.task_id in executor.queued:
            text, reason = "Killed before delivery to the executor", "REASON_TASK_KILLED_DURING_LAUNCH"
            self.make_update(framework, message.task_id, "TASK_KILLED", text, reason, executor.executor_id)
            if executor.state is ExecutorState.RUNNING and not executor.ever_sent and not executor.queued:
                self.shut_down(executor)
        elif executor.state is ExecutorState.RUNNING:
            policy = {} if message.kill_policy is None else {"kill_policy": message.kill_policy}
            self.send(executor, "KILL", {"task_id": {"value": message.task_id}, **policy})

    def _shutdown_executor(self, message: ShutdownExecutor) -> None:
        framework = self.frameworks.get(message.framework_id)
        executor = framework.executors.get(message.executor_id) if framework is not None else None
        if executor is not None and not executor.ending:
            self.shut_down(executor)

    def _shutdown_framework(self, message: ShutdownFramework) -> None:
        framework = self.frameworks.get(message.framework_id)
        if framework is None:
            return
        framework.terminating = True
        self._updates.forget(framework.framework_id)
        for executor in list(framework.executors.values()):
            if executor.state is ExecutorState.TERMINATED:
                self._remove_executor(framework, executor)
            elif executor.state is not ExecutorState.TERMINATING:
                self.shut_down(executor)
        self.remove_if_idle(framework)

    def _shutdown(self, message: ShutdownAgent) -> None:
        logger.warning("the agent is told to shut down: %s", message.message)
        self.state, self._end_reason = AgentState.TERMINATING, message.message
        for framework_id in list(self.frameworks):
            self._shutdown_framework(ShutdownFramework(framework_id))

    def _update_framework(self, message: UpdateFramework) -> None:
        framework = self.frameworks.get(message.framework_info["id"]["value"])
        if framework is None:
            return
        if framework.info != message.framework_info:
            framework.info = message.framework_info
            self.checkpoints.framework(framework)
        self.resend_updates(framework.framework_id)

    def _message(self, message: MessageToExecutor) -> None:
        framework = self.frameworks.get(message.framework_id)
        executor = framework.executors.get(message.executor_id) if framework is not None else None
        if executor is not None and executor.state is ExecutorState.RUNNING:
            self.send(executor, "MESSAGE", {"data": message.data})

    # -- updates -----------------------------------------------------------------------

    def make_update(
        self, framework: Framework, task_id: str, state: str, text: str, reason: str, executor_id: str | None
    ) -> None:
        """Makes an update on the agent's own behalf."""
        status = tasks.status(
            task_id, state, self.clock(), "SOURCE_AGENT", text, reason,
            agent_id=self.settings.agent_id, executor_id=executor_id, with_uuid=True,
        )  # fmt: skip
        self.update(framework, framework.executor_of(task_id), status)

    def update(self, framework: Framework, executor: Executor | None, status: Json) -> None:
        """Notes an update, an executor's or the agent's own, and forwards it if its turn has come."""
        if framework.terminating:
            return  # Nobody would acknowledge it.
        task_id = status["task_id"]["value"]
        due = self._updates.add(framework.framework_id, status, self.clock())
        if executor is not None:
            if task_id in executor.queued:  # The task never reached the executor.
                executor.launched[task_id] = Task.of(executor.queued.pop(task_id), executor.framework_id)
            task = executor.launched.get(task_id)
            if task is not None:
                task.state = status["state"]
                task.record(status)
                if task.terminal:
                    executor.terminated[task_id] = executor.launched.pop(task_id)
                    self.outbox.append(UpdateContainer(executor.container_id, executor.allocated))
            if (noted := executor.task(task_id)) is not None:
                self.checkpoints.task(framework, executor, noted)
        if due:
            self._forward(framework.framework_id, status)

    def _forward(self, framework_id: str, status: Json) -> None:
        if self.state in (AgentState.RECOVERING, AgentState.REGISTERING):
            return  # All pending updates go out once the agent is registered.
        task_id = status["task_id"]["value"]
        framework = self.frameworks.get(framework_id)  # None if all its launches were refused.
        executor = framework.executor_of(task_id) if framework is not None else None
        task = executor.task(task_id) if executor is not None else None
        if task is not None:
            task.update_state, task.update_uuid = status["state"], status["uuid"]
        latest = task.state if task is not None else status["state"]
        self.outbox.append(UpdateStatus(framework_id, status, latest))

    def _acknowledge(self, message: AcknowledgeUpdate) -> None:
        acknowledged, following = self._updates.acknowledge(
            message.framework_id, message.task_id, message.uuid, self.clock()
        )
        framework = self.frameworks.get(message.framework_id)
        executor = framework.executor_of(message.task_id) if framework is not None else None
        if acknowledged is not None and framework is not None and executor is not None:
            self._acknowledged(framework, executor, message.task_id, acknowledged["state"])
        if following is not None:
            self._forward(message.framework_id, following)

    def _acknowledged(self, framework: Framework, executor: Executor, task_id: str, state: str) -> None:
        task = executor.task(task_id)
        if task is not None:
            self.checkpoints.task(framework, executor, task)
        if state not in tasks.TERMINAL_STATES:
            return
        if executor.terminated.pop(task_id, None) is not None and task is not None:
            executor.completed.append(task)
        if executor.state is ExecutorState.TERMINATED and not executor.incomplete:
            self._remove_executor(framework, executor)
            self.remove_if_idle(framework)

    def resend_updates(self, framework_id: str | None = None) -> None:
        """Sends again the updates that wait for an acknowledgement, of one framework or of all."""
        self._updates.resend(framework_id, self.clock())
        self._send_due_updates()

    def _send_due_updates(self) -> None:
        for framework_id, status in self._updates.due(self.clock()):
            self._forward(framework_id, status)

    # -- containers end ----------------------------------------------------------------

    def container_launched(self, container_id: str, pid: int) -> None:
        framework, executor = self._executor_in(container_id)
        if framework is not None and executor is not None:
            executor.pid = pid
            self.checkpoints.executor(framework, executor)

    def container_failed(self, container_id: str, error: str) -> None:
        """The container could not be started at all."""
        framework, executor = self._executor_in(container_id)
        if framework is not None and executor is not None:
            text = f"Failed to launch container: {error}"
            executor.termination = Termination("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED", text)
            self.terminated(framework, executor, None)

    def container_ended(self, container_id: str, wait_status: int | None) -> None:
        """A container's processes are all gone; `wait_status`: the first one's, as of waitpid(2), None if unknown."""
        framework, executor = self._executor_in(container_id)
        if framework is not None and executor is not None:
            self.terminated(framework, executor, wait_status)

    def container_update_failed(self, container_id: str, error: str) -> None:
        """The container's limits could not be set: it is destroyed, tasks and all."""
        framework, executor = self._executor_in(container_id)
        if framework is not None and executor is not None and not executor.ending:
            self.fail_update(framework, executor, error)

    def fail_update(self, framework: Framework, executor: Executor, error: str) -> None:
        state = tasks.state_for("TASK_GONE", framework.capabilities)
        text = f"Failed to update resources for container: {error}"
        executor.termination = Termination(state, "REASON_CONTAINER_UPDATE_FAILED", text)
        self.destroy(executor)

    def _executor_in(self, container_id: str) -> tuple[Framework | None, Executor | None]:
        for framework, executor in living(self.frameworks):
            if executor.container_id == container_id:
                return framework, executor
        return None, None

    def terminated(self, framework: Framework, executor: Executor, wait_status: int | None) -> None:
        """The executor's container is gone, and its tasks; the executor goes once all updates are acknowledged."""
        executor.state, executor.stream_id = ExecutorState.TERMINATED, None
        if not executor.for_command_task and self.state is not AgentState.RECOVERING:
            # Before the updates: the master must not count an executor that holds nothing any more.
            status = -1 if wait_status is None else wait_status
            self.outbox.append(ExecutorExited(framework.framework_id, executor.executor_id, status))
        end = executor.termination or Termination("TASK_FAILED", "REASON_EXECUTOR_TERMINATED", "Executor terminated")
        for task_id in [*executor.launched, *executor.queued]:
            self.make_update(framework, task_id, end.state, end.message, end.reason, executor.executor_id)
        if framework.terminating or not executor.incomplete:
            self._remove_executor(framework, executor)
        self.remove_if_idle(framework)

    def _remove_executor(self, framework: Framework, executor: Executor) -> None:
        executor.completed.extend([*executor.launched.values(), *executor.terminated.values()])
        executor.launched.clear()
        executor.terminated.clear()
        framework.completed.append(framework.executors.pop(executor.executor_id))
        self.checkpoints.forget_executor(framework, executor)

    def remove_if_idle(self, framework: Framework) -> None:
        """A framework without executors moves to `completed`; its next task makes it anew."""
        if not framework.executors and self.frameworks.get(framework.framework_id) is framework:
            del self.frameworks[framework.framework_id]
            self.completed.append(framework)
            self.checkpoints.forget_framework(framework)

    # -- executors are ended -----------------------------------------------------------

    def shut_down(self, executor: Executor) -> None:
        """Sends SHUTDOWN; the container is destroyed when the grace period is over."""
        executor.state = ExecutorState.TERMINATING
        self.send(executor, "SHUTDOWN", None)
        executor.destroy_at_s = self.clock() + executor_launch.shutdown_grace_s(executor.info, self.settings)

    def destroy(self, executor: Executor) -> None:
        executor.state, executor.destroy_at_s = ExecutorState.TERMINATING, None
        self.outbox.append(DestroyContainer(executor.container_id))

    def shut_down_all(self) -> None:
        """The agent ends: no more launches, and every executor is sent SHUTDOWN."""
        self.state = AgentState.TERMINATING
        for _, executor in living(self.frameworks):
            if not executor.ending:
                self.shut_down(executor)

    @property
    def empty(self) -> bool:
        return next(living(self.frameworks), None) is None

    # -- subscribers and time ----------------------------------------------------------

    def provider_subscribe(self, stream_id: str, call: Mapping[str, Any]) -> None:
        """Raises CallRefused."""
        self.providers.subscribe(stream_id, call)
        self._providers_changed()

    def provider_call(self, stream_id: str | None, call: Mapping[str, Any]) -> None:
        """Raises CallRefused."""
        self.providers.call(stream_id, call)
        self._providers_changed()

    def _providers_changed(self) -> None:
        if self.state is AgentState.RUNNING:
            self.outbox.append(UpdateProviders(self.providers.states))
        task_launch.continue_launches(self)

    def stream_closed(self, stream_id: str) -> None:
        """An executor may come back; a provider's resources are gone at once."""
        if self.providers.stream_closed(stream_id):
            self._providers_changed()
        for _, executor in living(self.frameworks):
            if executor.stream_id == stream_id:
                executor.stream_id = None

    def tick(self) -> None:
        """Time has passed: registrations and shutdowns time out, updates are sent again."""
        now_s = self.clock()
        if self.state is AgentState.RECOVERING:
            if now_s >= self.started_s + self.settings.executor_reregistration_timeout_s:
                recovery.finish(self)
            return
        for _, executor in living(self.frameworks):
            if executor.state is ExecutorState.REGISTERING and executor.register_by_s <= now_s:
                timeout = executor_launch.mesos_duration(self.settings.executor_registration_timeout_s)
                executor.termination = Termination(
                    "TASK_FAILED",
                    "REASON_EXECUTOR_REGISTRATION_TIMEOUT",
                    f"Executor did not register within {timeout}",
                )
                self.destroy(executor)
            elif executor.destroy_at_s is not None and executor.destroy_at_s <= now_s:
                self.destroy(executor)
        self._send_due_updates()
        if self._end_reason is not None and self.empty:
            self.outbox.append(EndAgent(self._end_reason))

    def send(self, executor: Executor, kind: str, body: Json | None) -> None:
        if executor.stream_id is not None:
            event = {"type": kind} if body is None else {"type": kind, kind.lower(): body}
            self.outbox.append(Send(executor.stream_id, event))
