"""The agent: runs tasks in executors, and passes their updates on.

A state machine without I/O.  Messages come from the master, calls from executors and resource
providers, news of containers from `container.Containers`, time from `tick`; what is to happen is
appended to `outbox` and carried out by `embedded.EmbeddedMesos`.  It follows
``src/slave/slave.cpp``; where it knowingly does not, the method says so.
"""

from __future__ import annotations

import logging
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from serenity.localmesos import executor_launch, tasks
from serenity.localmesos.agent_state import (
    MAX_COMPLETED_FRAMEWORKS,
    Executor,
    ExecutorState,
    Framework,
    Termination,
    living,
)
from serenity.localmesos.executor_calls import ExecutorCalls
from serenity.localmesos.executor_launch import AgentSettings
from serenity.localmesos.messages import (
    AcknowledgeUpdate,
    DestroyContainer,
    ExecutorExited,
    KillTask,
    MessageToExecutor,
    Outbox,
    RegisterAgent,
    RunTask,
    Send,
    ShutdownExecutor,
    ShutdownFramework,
    ToAgent,
    UpdateFramework,
    UpdateProviders,
    UpdateStatus,
)
from serenity.localmesos.provider import Publication, ResourceProviders
from serenity.localmesos.tasks import Task
from serenity.localmesos.updates import StatusUpdates
from serenity.wire.resources import Json, Resources

logger = logging.getLogger(__name__)


class Agent:
    def __init__(self, settings: AgentSettings, clock: Callable[[], float]) -> None:
        """`clock` gives Unix time that never goes back."""
        self.settings = settings
        self.started_s = clock()
        self.frameworks: dict[str, Framework] = {}
        self.completed: deque[Framework] = deque(maxlen=MAX_COMPLETED_FRAMEWORKS)
        self.outbox: Outbox = []
        self.providers = ResourceProviders(self.outbox)
        self.executor_calls = ExecutorCalls(self)
        self.clock = clock
        self._updates = StatusUpdates()
        self._stopping = False
        self.outbox.append(RegisterAgent(settings.info, settings.resources))

    # -- messages of the master --------------------------------------------------------

    def receive(self, message: ToAgent) -> None:
        handlers: dict[type, Callable[[Any], None]] = {
            RunTask: self._run_task,
            KillTask: self._kill_task,
            ShutdownExecutor: self._shutdown_executor,
            ShutdownFramework: self._shutdown_framework,
            UpdateFramework: self._update_framework,
            AcknowledgeUpdate: self._acknowledge,
            MessageToExecutor: self._message,
        }
        handlers[type(message)](message)

    def _run_task(self, message: RunTask) -> None:
        framework_id = message.framework_info["id"]["value"]
        if self._stopping or (framework_id in self.frameworks and self.frameworks[framework_id].terminating):
            return
        framework = self.frameworks.setdefault(framework_id, Framework(message.framework_info))
        task = message.task
        executor_info = task.get("executor") or executor_launch.command_executor_info(task, framework_id, self.settings)
        executor_id = executor_info["executor_id"]["value"]
        executor = framework.executors.get(executor_id)
        refusal = self._why_dropped(message, executor)
        if refusal is not None:
            reason, text = refusal
            self._drop(framework, task, executor_id, text, reason)
            if message.launch_executor and "executor" in task:
                self.outbox.append(ExecutorExited(framework_id, executor_id, -1))
            self._remove_if_idle(framework)
            return
        if executor is None:
            executor = self._new_executor(framework, executor_info, for_command_task="command" in task)
            executor.queued[task["task_id"]["value"]] = task
            self.publish_queued(executor, first_launch=True)
            return
        executor.queued[task["task_id"]["value"]] = task
        if executor.state is ExecutorState.RUNNING:
            self.publish_queued(executor)

    def _why_dropped(self, message: RunTask, executor: Executor | None) -> tuple[str, str] | None:
        """The reason and message with which a launch is dropped; None if it can go on."""
        states = self.providers.states
        for provider_id in {
            each["provider_id"]["value"] for each in message.task["resources"] if "provider_id" in each
        }:
            current = states.get(provider_id)
            if current is None or current.version != message.provider_versions.get(provider_id):
                return "REASON_INVALID_OFFERS", "Task assumes outdated resource state"
        if "command" in message.task:
            if executor is not None:
                return "REASON_TASK_INVALID", "Cannot reuse an already existing executor for a command task"
            return None
        if message.launch_executor and executor is not None:
            return "REASON_EXECUTOR_TERMINATED", "Master wants to launch executor, but one already exists"
        if not message.launch_executor and executor is None:
            text = "No executor is expected to launch and there is no executor running"
            return "REASON_EXECUTOR_TERMINATED", text
        if executor is not None and executor.ending:
            return "REASON_EXECUTOR_TERMINATED", f"Executor {executor.state.value.lower()}"
        return None

    def _drop(self, framework: Framework, task: Json, executor_id: str, text: str, reason: str) -> None:
        state = tasks.state_for("TASK_DROPPED", framework.capabilities)
        self._make_update(framework, task["task_id"]["value"], state, text, reason, executor_id)

    def _new_executor(self, framework: Framework, info: Json, for_command_task: bool) -> Executor:
        container_id, executor_id = str(uuid.uuid4()), info["executor_id"]["value"]
        executor = framework.executors[executor_id] = Executor(
            info=info,
            framework_id=framework.framework_id,
            container_id=container_id,
            sandbox=executor_launch.sandbox_path(self.settings, framework.framework_id, executor_id, container_id),
            for_command_task=for_command_task,
            register_by_s=self.clock() + self.settings.executor_registration_timeout_s,
        )
        return executor

    def _kill_task(self, message: KillTask) -> None:
        framework = self.frameworks.get(message.framework_id)
        if framework is None or framework.terminating:
            return
        executor = framework.executor_of(message.task_id)
        if executor is None:
            state = tasks.state_for("TASK_DROPPED", framework.capabilities)
            self._make_update(
                framework, message.task_id, state, "Cannot find executor", "REASON_EXECUTOR_TERMINATED", None
            )
        elif message.task_id in executor.queued:
            text, reason = "Killed before delivery to the executor", "REASON_TASK_KILLED_DURING_LAUNCH"
            self._make_update(framework, message.task_id, "TASK_KILLED", text, reason, executor.executor_id)
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
        self._remove_if_idle(framework)

    def _update_framework(self, message: UpdateFramework) -> None:
        framework_id = message.framework_info["id"]["value"]
        if framework_id in self.frameworks:
            self.frameworks[framework_id].info = message.framework_info
        self._updates.resend(framework_id, self.clock())
        self._send_due_updates()

    def _message(self, message: MessageToExecutor) -> None:
        framework = self.frameworks.get(message.framework_id)
        executor = framework.executors.get(message.executor_id) if framework is not None else None
        if executor is not None and executor.state is ExecutorState.RUNNING:
            self.send(executor, "MESSAGE", {"data": message.data})

    # -- launches wait for the resource providers --------------------------------------

    def publish_queued(self, executor: Executor, first_launch: bool = False) -> None:
        """Has the resources of all executors published; then the queued tasks go to `executor`, or it is started."""
        used = Resources()
        for _, each in living(self.frameworks):
            used += each.allocated
        wanted = {kind.provider_id for kind in executor.allocated.kinds}
        of_its_providers = Resources({kind: value for kind, value in used if kind.provider_id in wanted})
        publication = Publication(executor.container_id, tuple(executor.queued), first_launch)
        self.providers.publish(publication, of_its_providers)
        self.continue_launches()

    def continue_launches(self) -> None:
        """Goes on with whatever the providers have answered."""
        for publication in self.providers.finished():
            for framework, executor in living(self.frameworks):
                if executor.container_id == publication.container_id:
                    self._published(framework, executor, publication)

    def _published(self, framework: Framework, executor: Executor, publication: Publication) -> None:
        if publication.failure is not None:
            text = f"Failed to publish resources for container {executor.container_id}: {publication.failure}"
            if publication.first_launch:
                executor.termination = Termination("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED", text)
                self._terminated(framework, executor, None)
                return
            state = tasks.state_for("TASK_GONE", framework.capabilities)
            text = f"Failed to update resources for container: {text}"
            executor.termination = Termination(state, "REASON_CONTAINER_UPDATE_FAILED", text)
            self._destroy(executor)
        elif publication.first_launch:
            if executor.state is ExecutorState.REGISTERING:
                launch = executor_launch.launch_of(executor.container_id, framework.info, executor.info, self.settings)
                self.outbox.append(launch)
            else:
                text = f"Executor {executor.state.value.lower()}"
                executor.termination = Termination("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED", text)
                self._terminated(framework, executor, None)
        elif executor.state is ExecutorState.RUNNING:
            for task_id in publication.task_ids:
                info = executor.queued.pop(task_id, None)
                if info is not None:  # Else it was killed meanwhile.
                    executor.launched[task_id] = Task.of(info, executor.framework_id)
                    executor.ever_sent = True
                    self.send(executor, "LAUNCH", {"task": info})

    # -- updates -----------------------------------------------------------------------

    def _make_update(
        self, framework: Framework, task_id: str, state: str, text: str, reason: str, executor_id: str | None
    ) -> None:
        status = tasks.status(
            task_id, state, self.clock(), "SOURCE_AGENT", text, reason,
            agent_id=self.settings.agent_id, executor_id=executor_id, with_uuid=True,
        )  # fmt: skip
        self.update(framework, framework.executor_of(task_id), status)

    def update(self, framework: Framework, executor: Executor | None, status: Json) -> None:
        """Notes an update, whoever made it, and forwards it when it is its turn."""
        if framework.terminating:
            return  # Nobody would acknowledge it.
        task_id = status["task_id"]["value"]
        if executor is not None:
            if task_id in executor.queued:  # It never reached the executor.
                executor.launched[task_id] = Task.of(executor.queued.pop(task_id), executor.framework_id)
            task = executor.launched.get(task_id)
            if task is not None:
                task.state = status["state"]
                task.record(status)
                if task.terminal:
                    executor.terminated[task_id] = executor.launched.pop(task_id)
        if self._updates.add(framework.framework_id, status, self.clock()):
            self._forward(framework.framework_id, status)

    def _forward(self, framework_id: str, status: Json) -> None:
        task_id = status["task_id"]["value"]
        framework = self.frameworks.get(framework_id)  # None if it was only ever refused launches.
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
        if following is not None:
            self._forward(message.framework_id, following)
        framework = self.frameworks.get(message.framework_id)
        executor = framework.executor_of(message.task_id) if framework is not None else None
        if acknowledged is None or framework is None or executor is None:
            return
        if acknowledged["state"] not in tasks.TERMINAL_STATES:
            return
        task = executor.terminated.pop(message.task_id, None)
        if task is not None:
            executor.completed.append(task)
        if executor.state is ExecutorState.TERMINATED and not executor.incomplete:
            self._remove_executor(framework, executor)
            self._remove_if_idle(framework)

    def _send_due_updates(self) -> None:
        for framework_id, status in self._updates.due(self.clock()):
            self._forward(framework_id, status)

    # -- containers end ----------------------------------------------------------------

    def container_launched(self, container_id: str, pid: int) -> None:
        executor = self._executor_in(container_id)[1]
        if executor is not None:
            executor.pid = pid

    def container_failed(self, container_id: str, error: str) -> None:
        """It could not be started at all."""
        framework, executor = self._executor_in(container_id)
        if framework is not None and executor is not None:
            text = f"Failed to launch container: {error}"
            executor.termination = Termination("TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED", text)
            self._terminated(framework, executor, None)

    def container_ended(self, container_id: str, wait_status: int) -> None:
        """All its processes are gone; `wait_status` of the first as from waitpid(2)."""
        framework, executor = self._executor_in(container_id)
        if framework is not None and executor is not None:
            self._terminated(framework, executor, wait_status)

    def _executor_in(self, container_id: str) -> tuple[Framework | None, Executor | None]:
        for framework, executor in living(self.frameworks):
            if executor.container_id == container_id:
                return framework, executor
        return None, None

    def _terminated(self, framework: Framework, executor: Executor, wait_status: int | None) -> None:
        """The executor's container is gone: its tasks with it, and itself once all updates are acknowledged."""
        executor.state, executor.stream_id = ExecutorState.TERMINATED, None
        if not executor.for_command_task:
            # Before the updates: the master must not count an executor that holds nothing any more.
            exited = ExecutorExited(
                framework.framework_id, executor.executor_id, -1 if wait_status is None else wait_status
            )
            self.outbox.append(exited)
        end = executor.termination or Termination("TASK_FAILED", "REASON_EXECUTOR_TERMINATED", "Executor terminated")
        for task_id in [*executor.launched, *executor.queued]:
            self._make_update(framework, task_id, end.state, end.message, end.reason, executor.executor_id)
        if framework.terminating or not executor.incomplete:
            self._remove_executor(framework, executor)
        self._remove_if_idle(framework)

    def _remove_executor(self, framework: Framework, executor: Executor) -> None:
        executor.completed.extend([*executor.launched.values(), *executor.terminated.values()])
        executor.launched.clear()
        executor.terminated.clear()
        framework.completed.append(framework.executors.pop(executor.executor_id))

    def _remove_if_idle(self, framework: Framework) -> None:
        """A framework without executors is history; its next task makes it anew."""
        if not framework.executors and self.frameworks.get(framework.framework_id) is framework:
            del self.frameworks[framework.framework_id]
            self.completed.append(framework)

    # -- executors are ended -----------------------------------------------------------

    def shut_down(self, executor: Executor) -> None:
        """SHUTDOWN, and the container is destroyed when the grace period is over."""
        executor.state = ExecutorState.TERMINATING
        self.send(executor, "SHUTDOWN", None)
        executor.destroy_at_s = self.clock() + executor_launch.shutdown_grace_s(executor.info, self.settings)

    def _destroy(self, executor: Executor) -> None:
        executor.state, executor.destroy_at_s = ExecutorState.TERMINATING, None
        self.outbox.append(DestroyContainer(executor.container_id))

    def shut_down_all(self) -> None:
        """The agent ends: no more launches, every executor gets its SHUTDOWN."""
        self._stopping = True
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
        self.outbox.append(UpdateProviders(self.providers.states))
        self.continue_launches()

    def stream_closed(self, stream_id: str) -> None:
        """An executor may come back; a provider's resources are gone at once."""
        if self.providers.stream_closed(stream_id):
            self._providers_changed()
        for _, executor in living(self.frameworks):
            if executor.stream_id == stream_id:
                executor.stream_id = None

    def tick(self) -> None:
        """Time has passed: registrations and shutdowns run out, updates are sent again."""
        now_s = self.clock()
        for _, executor in living(self.frameworks):
            if executor.state is ExecutorState.REGISTERING and executor.register_by_s <= now_s:
                timeout = executor_launch.mesos_duration(self.settings.executor_registration_timeout_s)
                executor.termination = Termination(
                    "TASK_FAILED",
                    "REASON_EXECUTOR_REGISTRATION_TIMEOUT",
                    f"Executor did not register within {timeout}",
                )
                self._destroy(executor)
            elif executor.destroy_at_s is not None and executor.destroy_at_s <= now_s:
                self._destroy(executor)
        self._send_due_updates()

    def send(self, executor: Executor, kind: str, body: Json | None) -> None:
        if executor.stream_id is not None:
            event = {"type": kind} if body is None else {"type": kind, kind.lower(): body}
            self.outbox.append(Send(executor.stream_id, event))
