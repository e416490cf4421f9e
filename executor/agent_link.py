"""The agent's side: callbacks of the stream become events in main's inbox, main's updates go out in a thread.

Nothing is decided here.  Main never waits for the network, the stream never for main.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, MutableMapping
from typing import Any

from serenity.executor.inbox import Acknowledged, Event, FrameworkSaid, Kill, Launch, Shutdown, Subscribed
from serenity.wire.mesos.executor import ExecutorDriver
from serenity.wire.transport.access import ANONYMOUS, Access
from serenity.wire.transport.http import HttpError, Unreachable

logger = logging.getLogger(__name__)


class AgentLink:
    """Raises `NotUnderMesos` when made in an environment that no agent made."""

    def __init__(
        self, environ: MutableMapping[str, str], put: Callable[[Event], None], access: Access = ANONYMOUS
    ) -> None:
        self._put = put
        self._driver = ExecutorDriver(self, environ, access)
        self._outgoing: queue.SimpleQueue[dict[str, Any] | str | None] = queue.SimpleQueue()
        self._unsent = 0
        self._unsent_lock = threading.Lock()
        self._sender = threading.Thread(target=self._send_all, name="sender", daemon=True)

    @property
    def framework_id(self) -> str:
        return str(self._driver.framework_id["value"])

    @property
    def executor_id(self) -> str:
        return str(self._driver.executor_id["value"])

    @property
    def shutdown_grace_s(self) -> float:
        return float(self._driver.grace_shutdown_period)

    @property
    def subscribed(self) -> bool:
        return self._driver.subscribed

    @property
    def settled(self) -> bool:
        """Everything said has been acknowledged by the agent."""
        with self._unsent_lock:
            return self._unsent == 0 and self._driver.unacknowledged == 0

    def start(self) -> None:
        self._sender.start()
        self._driver.start()

    def stop(self) -> None:
        self._outgoing.put(None)
        self._driver.stop()

    def update(self, status: dict[str, Any]) -> None:
        """Goes out in order, and again until it is acknowledged."""
        self._enqueue(status)

    def message(self, data: str) -> None:
        """A framework message: goes out once, best effort."""
        self._enqueue(data)

    def _enqueue(self, item: dict[str, Any] | str) -> None:
        with self._unsent_lock:
            self._unsent += 1
        self._outgoing.put(item)

    def _send_all(self) -> None:
        while (item := self._outgoing.get()) is not None:
            try:
                if isinstance(item, str):
                    self._driver.sendFrameworkMessage(item)
                else:
                    self._driver.sendStatusUpdate(item)
            except (Unreachable, HttpError) as error:
                logger.info("a message to the framework was lost: %s", error)
            except Exception:
                # What is wrong with one must not silence all that come after it.
                logger.exception("could not be sent: %.200s", item)
            finally:
                with self._unsent_lock:
                    self._unsent -= 1

    # -- callbacks, by pymesos' names ------------------------------------------------------------

    def registered(self, driver: ExecutorDriver, _executor_info: Any, framework_info: Any, agent_info: Any) -> None:
        self._subscribed(driver, agent_info, framework_info)

    def reregistered(self, driver: ExecutorDriver, agent_info: Any) -> None:
        self._subscribed(driver, agent_info, driver.framework_info)

    def disconnected(self, driver: ExecutorDriver) -> None:
        """The driver reconnects by itself, and says so."""

    def launchTask(self, driver: ExecutorDriver, task: Any) -> None:  # noqa: N802
        self._put(Launch(task))

    def killTask(self, driver: ExecutorDriver, task_id: Any, grace_s: float | None = None) -> None:  # noqa: N802
        self._put(Kill(task_id["value"], grace_s))

    def frameworkMessage(self, driver: ExecutorDriver, data: str) -> None:  # noqa: N802
        self._put(FrameworkSaid(data))

    def acknowledged(self, driver: ExecutorDriver, task_id: str, update_uuid: str) -> None:
        self._put(Acknowledged())

    def shutdown(self, driver: ExecutorDriver) -> None:
        self._put(Shutdown("the agent" if driver.subscribed else "the agent is gone for good"))

    def error(self, driver: ExecutorDriver, message: str) -> None:
        logger.error("the agent says: %s", message)
        self._put(Shutdown(message))

    def _subscribed(self, driver: ExecutorDriver, agent_info: Any, framework_info: Any) -> None:
        capabilities = {each.get("type") for each in framework_info.get("capabilities", [])}
        self._put(
            Subscribed(
                agent_id=agent_info["id"]["value"],
                hostname=agent_info.get("hostname", ""),
                container_id=driver.container_id,
                knows_killing="TASK_KILLING_STATE" in capabilities,
            )
        )
