"""The executor driver: pymesos' calls and event dispatch over our own IO loop.

What differs from plain pymesos (docs/pymesos.md):

* Every update is recorded until it is acknowledged, and sent again with the next
  SUBSCRIBE.  An update made while disconnected, or while that SUBSCRIBE is under way, is
  therefore never lost; updates leave in the order in which they were made, and none twice
  under one subscription.
* If the framework checkpoints, the agent may be gone for as long as the recovery timeout;
  after that, or at once without checkpointing, `shutdown` is called.  Nothing here kills a
  process group.
* The agent's bearer token is read, sent, and taken out of the environment.
* A second LAUNCH of a task is logged and ignored; it does not fail an assertion.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, MutableMapping
from typing import Any, Protocol

from serenity.wire._vendor.pymesos.executor import MesosExecutorDriver
from serenity.wire._vendor.pymesos.process import Process
from serenity.wire.mesos.quantities import parse_mesos_duration_s
from serenity.wire.mesos.subscription import Backoff, Event, FinalError, Subscription
from serenity.wire.transport.access import ANONYMOUS, Access
from serenity.wire.transport.http import Client, HttpError, Stream, Unreachable, open_stream
from serenity.wire.transport.libprocess import agent_endpoint
from serenity.wire.transport.secret_variable import take_secret

logger = logging.getLogger(__name__)

PATH = "/api/v1/executor"
# The agent waits 2 s by default for its executors when it comes back
# (--executor_reregistration_timeout); pauses above this would miss it.
_MAX_PAUSE_S = 0.5
# Mesos' constant.  Agents before 1.8 send no heartbeats, so that silence means something only after the first one.
HEARTBEAT_S = 30 * 60.0
_MISSED_HEARTBEATS = 5


class Executor(Protocol):
    """The callbacks, with pymesos' names.  All are called in the driver's one thread, in order."""

    def registered(self, driver: ExecutorDriver, executor_info: Any, framework_info: Any, agent_info: Any) -> None: ...
    def reregistered(self, driver: ExecutorDriver, agent_info: Any) -> None: ...
    def disconnected(self, driver: ExecutorDriver) -> None: ...
    def launchTask(self, driver: ExecutorDriver, task: Any) -> None: ...  # noqa: N802
    def killTask(self, driver: ExecutorDriver, task_id: Any, grace_s: float | None = None) -> None:  # noqa: N802
        """`grace_s` is the kill policy's grace period; None if the call had none."""

    def frameworkMessage(self, driver: ExecutorDriver, data: str) -> None: ...  # noqa: N802
    def acknowledged(self, driver: ExecutorDriver, task_id: str, update_uuid: str) -> None: ...
    def shutdown(self, driver: ExecutorDriver) -> None:
        """End the tasks within the grace period: the agent asks for it, or is gone for good."""

    def error(self, driver: ExecutorDriver, message: str) -> None: ...


class NotUnderMesos(ValueError):  # noqa: N818
    """Not started by a Mesos agent: a variable is missing or makes no sense."""


class ExecutorDriver(MesosExecutorDriver):
    """One executor's connection to its agent, configured by the environment that the agent gave it.

    The agent's bearer token is removed from `environ`: no task may inherit it.  `access` says how
    to speak TLS with the agent, if the agent does (see `libprocess`); the token is added to it.

    Raises:
        NotUnderMesos: this process was not started by a Mesos agent.
    """

    def __init__(
        self,
        executor: Executor,
        environ: MutableMapping[str, str],
        access: Access = ANONYMOUS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        try:
            self._agent = agent_endpoint(environ)
            framework_id, executor_id = environ["MESOS_FRAMEWORK_ID"], environ["MESOS_EXECUTOR_ID"]
            self.grace_shutdown_period = parse_mesos_duration_s(
                environ.get("MESOS_EXECUTOR_SHUTDOWN_GRACE_PERIOD", "5secs")
            )
            self._recovery_timeout_s = parse_mesos_duration_s(environ.get("MESOS_RECOVERY_TIMEOUT", "15mins"))
            backoff_max_s = parse_mesos_duration_s(environ.get("MESOS_SUBSCRIPTION_BACKOFF_MAX", "2secs"))
        except KeyError as missing:
            raise NotUnderMesos(f"{missing.args[0]} is not set: a Mesos agent starts this program") from None
        except ValueError as error:
            raise NotUnderMesos(str(error)) from None
        # pymesos' own constructor reads os.environ and takes "0" for true.
        Process.__init__(self, master=str(self._agent))
        self.executor = executor
        self.framework_id = {"value": framework_id}
        self.executor_id = {"value": executor_id}
        self.checkpoint = environ.get("MESOS_CHECKPOINT") == "1"
        self.framework_info = self.executor_info = None
        self.container_id = ""  # The agent tells it once we have subscribed.
        self.tasks: dict[str, Any] = {}  # Launched tasks without an acknowledged update.
        self.updates: dict[str, Any] = {}  # By uuid: sent or not, but not acknowledged.
        self._dict_cls = dict
        self._access = access.with_token(take_secret(environ, "MESOS_EXECUTOR_AUTHENTICATION_TOKEN"))
        self._unsent: dict[str, Any] = {}  # Those of `updates` that are still to be sent by themselves.
        self._records_lock = threading.Lock()
        self._sending_lock = threading.Lock()  # Keeps updates in order; held around `_send`.
        self._calls: Client | None = None
        self._calls_lock = threading.Lock()
        self._stream: Stream | None = None  # The last one opened.
        self._monotonic = monotonic
        self._told_registered = False  # And not `disconnected` since.
        self._lost_at: float | None = None
        self._shutdown_told = False
        self._subscription = Subscription(
            self, Backoff(first_s=0.05, max_s=min(_MAX_PAUSE_S, backoff_max_s)), "executor stream"
        )

    # -- life ----------------------------------------------------------------------------

    def start(self) -> None:
        self._started = True
        self._subscription.start()

    def stop(self) -> None:
        """Closes the stream; for the agent the executor has ended only when the process is gone."""
        self._started = False
        self._subscription.stop()
        self._drop_calls()

    def abort(self) -> None:
        self.stop()

    def join(self) -> None:
        self._subscription.join()

    @property
    def subscribed(self) -> bool:
        return self.stream_id is not None and not self._subscription.stopping

    @property
    def unacknowledged(self) -> int:
        """Number of updates that the agent has not acknowledged: an executor that ends now loses them."""
        with self._records_lock:
            return len(self.updates)

    # -- calls ------------------------------------------------------------------------------

    def sendStatusUpdate(self, status: dict[str, Any]) -> str:  # noqa: N802
        """Records the update, sends it if there is a subscription, and returns its uuid (base64).

        Never raises for want of a connection: an update that could not be sent goes with the next SUBSCRIBE.

        Raises:
            TypeError, ValueError: `status` is no JSON.
        """
        status = {
            "timestamp": time.time(),  # Mesos' own field, for people; nothing is decided by it.
            "uuid": base64.b64encode(uuid.uuid4().bytes).decode("ascii"),
            "source": "SOURCE_EXECUTOR",
            "executor_id": self.executor_id,
            **status,
        }
        json.dumps(status, allow_nan=False)  # Once recorded, a bad update would spoil every later SUBSCRIBE.
        with self._records_lock:
            self.updates[status["uuid"]] = self._unsent[status["uuid"]] = {"status": status}
        self._send_unsent()
        return str(status["uuid"])

    def _send_unsent(self) -> None:
        with self._sending_lock:
            while self.subscribed:
                with self._records_lock:
                    update_uuid = next(iter(self._unsent), None)
                    if update_uuid is None:
                        return
                    update = self._unsent.pop(update_uuid)
                task_id = update["status"]["task_id"]["value"]
                try:
                    self._send(self._envelope("UPDATE", update=update))
                except HttpError as error:
                    if error.status == 400:
                        # If kept, it would make every later SUBSCRIBE malformed, too.
                        logger.error("the agent does not take an update of %s, which is lost: %s", task_id, error)
                        with self._records_lock:
                            self.updates.pop(update_uuid, None)
                        continue
                    logger.warning("update of %s kept for the next subscription: %s", task_id, error)
                    self._resubscribe()
                except Unreachable as error:
                    logger.warning("update of %s kept for the next subscription: %s", task_id, error)
                    self._resubscribe()

    def _resubscribe(self) -> None:
        self.stream_id = None  # At once: no later update may overtake the one that failed.
        self._subscription.reopen()

    def sendFrameworkMessage(self, data: str) -> None:  # noqa: N802
        """`data` is base64.  Best effort, as Mesos' messages are; raises Unreachable or HttpError."""
        self._send(self._envelope("MESSAGE", message={"data": data}))

    def _envelope(self, call: str, **body: Any) -> Event:
        return {"type": call, "framework_id": self.framework_id, "executor_id": self.executor_id, **body}

    def _send(self, body: Any, path: str = PATH, method: str = "POST", headers: Any = None) -> dict[str, Any]:
        with self._calls_lock:
            if not self.subscribed:
                raise Unreachable(f"not subscribed to the agent at {self._agent}")
            if self._calls is None:
                self._calls = Client(self._agent, access=self._access)
            answer = self._calls.request(method, path, body, headers)
        if not 200 <= answer.status < 300:
            raise HttpError(answer.status, answer.body, body["type"])
        return {}

    def _drop_calls(self) -> None:
        self.stream_id = None
        if (calls := self._calls) is not None:
            calls.end()  # A call that hangs must keep us neither from subscribing again nor from stopping.
        with self._calls_lock:
            if self._calls is not None:
                self._calls.close()
                self._calls = None

    # -- the subscription ---------------------------------------------------------------------

    def open(self) -> Stream:
        self._give_up_if_too_late()
        # `_sending_lock`: an update that is being sent by itself must not go with SUBSCRIBE as well.
        with self._sending_lock, self._records_lock:
            tasks, updates = list(self.tasks.values()), list(self.updates.values())
            self._unsent.clear()  # If this SUBSCRIBE fails, the next one carries them all.
        try:
            self._stream = self._subscribe(tasks, updates)
        except HttpError as error:
            if error.status != 400 or not updates:
                raise
            # One of them may be malformed: each is sent by itself, and the agent says which it is.
            logger.warning("the agent does not take %d updates with a subscription: %s", len(updates), error)
            with self._records_lock:
                self._unsent = dict(self.updates)
            self._stream = self._subscribe(tasks, [])
        return self._stream

    def _subscribe(self, tasks: list[Any], updates: list[Any]) -> Stream:
        unacknowledged = {"unacknowledged_tasks": tasks, "unacknowledged_updates": updates}
        return open_stream(
            self._agent, "POST", PATH, self._envelope("SUBSCRIBE", subscribe=unacknowledged), access=self._access
        )

    def event(self, event: Event) -> None:
        if not self._started:
            return
        if event.get("type") == "SUBSCRIBED":
            # The executor API has no stream id; any value says "subscribed" to pymesos.
            self.stream_id = "subscribed"
            self._told_registered = True
            self._lost_at = None
            self._send_unsent()
        elif event.get("type") == "HEARTBEAT" and self._stream is not None:
            self._stream.expect_within(_MISSED_HEARTBEATS * HEARTBEAT_S)
        self.on_event(event)

    def on_launch(self, event: Event) -> None:
        task = event["task"]
        task_id = task["task_id"]["value"]
        with self._records_lock:
            known = task_id in self.tasks
            self.tasks.setdefault(task_id, task)
        if known:
            logger.warning("%s was launched twice; the second launch is ignored", task_id)
            return
        self.executor.launchTask(self, task)

    def on_launch_group(self, event: Event) -> None:
        for task in event["task_group"]["tasks"]:
            self.on_launch({"task": task})

    def on_subscribed(self, event: Event) -> None:
        self.container_id = event.get("container_id", {}).get("value", "")
        super().on_subscribed(event)

    def on_kill(self, event: Event) -> None:
        # pymesos passes on only the task's id, without the kill policy.
        grace = event.get("kill_policy", {}).get("grace_period")
        self.executor.killTask(self, event["task_id"], int(grace["nanoseconds"]) / 1e9 if grace else None)

    def on_acknowledged(self, event: Event) -> None:
        task_id, update_uuid = event["task_id"]["value"], event["uuid"]
        with self._records_lock:
            self.updates.pop(update_uuid, None)
            self.tasks.pop(task_id, None)
        self.executor.acknowledged(self, task_id, update_uuid)

    def on_shutdown(self) -> None:
        self._tell_shutdown()

    def closed(self, reason: str) -> None:
        was_subscribed, self._told_registered = self._told_registered, False
        self._drop_calls()
        if self._lost_at is None:
            self._lost_at = self._monotonic()
            logger.warning("no subscription to the agent at %s: %s", self._agent, reason)
        if was_subscribed:
            self.executor.disconnected(self)

    def failed(self, error: FinalError) -> None:
        logger.error("%s", error)
        self._tell_shutdown()

    def _give_up_if_too_late(self) -> None:
        """Raises FinalError when the agent has been gone for longer than an executor is to wait."""
        if self._lost_at is None:
            return
        waited_s = self._monotonic() - self._lost_at
        if self.framework_info is not None and not self.checkpoint:
            raise FinalError("the agent is gone, and the framework does not checkpoint")
        if waited_s > self._recovery_timeout_s:
            raise FinalError(f"the agent has been gone for {waited_s:.0f} s, longer than the recovery timeout")

    def _tell_shutdown(self) -> None:
        if not self._shutdown_told:
            self._shutdown_told = True
            self.executor.shutdown(self)
