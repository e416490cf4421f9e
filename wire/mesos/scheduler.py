"""The scheduler driver: pymesos' calls and event dispatch over our own IO loop.

What differs from plain pymesos (its defects are listed in docs/pymesos.md):

* It never sends TEARDOWN unless `teardown` is called.  `stop` and `abort` only close the
  stream; the framework's tasks live on until its failover timeout.
* Calls while disconnected raise `Disconnected`; they are never queued.  A scheduler must
  re-derive from its store what to send after `registered`/`reregistered` anyway, and a
  queued ACCEPT would launch on offers that the disconnection has voided.
* An exception in a callback is logged, and the stream goes on.
* A stream that is silent for five heartbeats is opened anew.
* Capabilities and versions are sent as given; `reconcileTasks` keeps agent ids; `killTask`
  takes a kill policy; the headers of one driver never reach another.
"""

from __future__ import annotations

import base64
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from serenity.wire._vendor.pymesos.scheduler import MesosSchedulerDriver
from serenity.wire.mesos.leader import at_the_leader, leading_master
from serenity.wire.mesos.subscription import Backoff, Event, FinalError, Subscription
from serenity.wire.transport.access import ANONYMOUS, Access
from serenity.wire.transport.http import (
    REQUEST_TIMEOUT_S,
    Client,
    Endpoint,
    HttpError,
    Response,
    Stream,
    Unreachable,
    open_stream,
)

logger = logging.getLogger(__name__)

PATH = "/api/v1/scheduler"
# Used until SUBSCRIBED tells the interval; Mesos' default is 15 s.
_HEARTBEAT_S = 15.0
_MISSED_HEARTBEATS = 5
_BACKOFF = Backoff(first_s=0.1, max_s=10.0)


class Disconnected(Exception):  # noqa: N818 - reads as what it says
    """There is no answer to the call: there was no subscription, or the connection broke during the call.

    `may_have_arrived`: Mesos may have carried the call out.  Whether a launch took place is then not known until the
    reconciliation that follows the next subscription.
    """

    def __init__(self, message: str, may_have_arrived: bool = False) -> None:
        super().__init__(message)
        self.may_have_arrived = may_have_arrived


class CallRefused(Exception):  # noqa: N818
    """Mesos answered the call with an error: it is malformed, or not authorized."""


class Scheduler(Protocol):
    """The callbacks, with pymesos' names.  All are called in the driver's one thread, in order."""

    def registered(self, driver: SchedulerDriver, framework_id: Any, master_info: Any) -> None: ...
    def reregistered(self, driver: SchedulerDriver, master_info: Any) -> None: ...
    def disconnected(self, driver: SchedulerDriver) -> None: ...
    def resourceOffers(self, driver: SchedulerDriver, offers: list[Any]) -> None: ...  # noqa: N802
    def inverseOffers(self, driver: SchedulerDriver, offers: list[Any]) -> None: ...  # noqa: N802
    def offerRescinded(self, driver: SchedulerDriver, offer_id: Any) -> None: ...  # noqa: N802
    def inverseOfferRescinded(self, driver: SchedulerDriver, offer_id: Any) -> None: ...  # noqa: N802
    def statusUpdate(self, driver: SchedulerDriver, status: Any) -> None: ...  # noqa: N802
    def frameworkMessage(  # noqa: N802
        self, driver: SchedulerDriver, executor_id: Any, agent_id: Any, data: str
    ) -> None: ...
    def executorLost(  # noqa: N802
        self, driver: SchedulerDriver, executor_id: Any, agent_id: Any, status: int | None
    ) -> None: ...
    def slaveLost(self, driver: SchedulerDriver, agent_id: Any) -> None: ...  # noqa: N802
    def processHeartBeat(self, driver: SchedulerDriver) -> None: ...  # noqa: N802
    def error(self, driver: SchedulerDriver, message: str) -> None:
        """Mesos ended the framework (an ERROR event), or no further attempt makes sense."""


class SchedulerDriver(MesosSchedulerDriver):
    """One framework's connection to the leading master.

    `framework` is a FrameworkInfo; once known, its ``id`` is kept in it, and a driver that is
    constructed with an id fails over.  `master` is what `leader.leading_master` takes.  Events
    are passed on as plain dicts.  Updates are acknowledged by `acknowledgeStatusUpdate`, never
    implicitly.  `answer_within_s` limits the wait for the answer to each call, and for the
    beginning of the stream.

    Raises:
        ValueError: `master` is no address.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        framework: Mapping[str, Any],
        master: str,
        *,
        access: Access = ANONYMOUS,
        backoff: Backoff = _BACKOFF,
        answer_within_s: float = REQUEST_TIMEOUT_S,
    ) -> None:
        self.leading = leading_master(master, access)
        super().__init__(scheduler, dict(framework), str(self.leading), implicit_acknowledgements=False, failover=True)
        self.trouble: str | None = None  # Why the last attempt to subscribe failed, or the subscription ended.
        self._access = access
        self._answer_within_s = answer_within_s
        self._leader: Endpoint | None = None  # The master that the last stream was opened to.
        self._changes = 0  # `leading.changes` before the last attempt to subscribe.
        self._calls: Client | None = None
        self._calls_lock = threading.Lock()
        self._stream: Stream | None = None  # The last one opened.
        self._heartbeat_s = _HEARTBEAT_S
        self._told_registered = False  # And not `disconnected` since.
        self._torn_down = False
        self._subscription = Subscription(self, backoff, "scheduler stream")

    # -- life ----------------------------------------------------------------------------

    def start(self) -> None:
        self._started = True
        self.leading.start(self._subscription.reopen)
        self._subscription.start()

    def stop(self, failover: bool = True) -> None:
        """Closes the stream.  `failover` is pymesos' parameter; False tears down, True is our default.

        Raises:
            Disconnected, CallRefused: the stream is closed, but the framework is not torn down.
        """
        try:
            if not failover:
                self.teardown()
        finally:
            self._started = False
            self._subscription.stop()
            self.leading.close()
            self._drop_calls()

    def abort(self) -> None:
        self.stop()

    def join(self) -> None:
        self._subscription.join()

    def run(self) -> None:
        self.start()
        self.join()

    def teardown(self) -> None:
        """Ends the framework for good: Mesos kills all its tasks and executors, and ends the stream.

        Raises Disconnected or CallRefused; the framework then lives on.
        """
        self._torn_down = True  # Before the call: the end of the stream may come before its answer.
        try:
            self._call("TEARDOWN")
        except (Disconnected, CallRefused):
            self._torn_down = False
            raise

    def reopen(self) -> None:
        """Ends the stream, to subscribe again; for a caller that gets answers which make no sense."""
        self._subscription.reopen()

    @property
    def framework(self) -> dict[str, Any]:
        """The FrameworkInfo as it is sent: unlike pymesos', with no capability forced on."""
        return dict(self._framework)

    # -- calls that pymesos lacks, or makes wrongly -----------------------------------------

    def killTask(  # noqa: N802
        self, task_id: Any, agent_id: Any = None, kill_policy: Mapping[str, Any] | None = None
    ) -> None:
        kill = {"task_id": task_id, **({"agent_id": agent_id} if agent_id else {})}
        self._call("KILL", kill={**kill, **({"kill_policy": dict(kill_policy)} if kill_policy else {})})

    def reconcileTasks(self, tasks: Sequence[Mapping[str, Any]]) -> None:  # noqa: N802
        """Explicitly for `tasks` (``task_id``, optional ``agent_id``); an empty list asks for all known tasks."""
        kept = [{key: task[key] for key in ("task_id", "agent_id") if task.get(key)} for task in tasks]
        self._call("RECONCILE", reconcile={"tasks": kept})

    def acknowledgeStatusUpdates(self, statuses: Sequence[Mapping[str, Any]]) -> None:  # noqa: N802
        """As `acknowledgeStatusUpdate` for each status, in order, but quicker; skips a status without a uuid.

        Raises Disconnected if a call was not answered, CallRefused with Mesos' words if one or more were refused.
        """
        bodies = [
            {
                "type": "ACKNOWLEDGE",
                "framework_id": {"value": self.framework_id},
                "acknowledge": {key: status[key] for key in ("agent_id", "task_id", "uuid")},
            }
            for status in statuses
            if "uuid" in status
        ]
        if bodies:
            self._send_all("ACKNOWLEDGE", bodies)

    def shutdownExecutor(self, executor_id: Any, agent_id: Any) -> None:  # noqa: N802
        self._call("SHUTDOWN", shutdown={"executor_id": executor_id, "agent_id": agent_id})

    def _call(self, call: str, **body: Any) -> None:
        if self.framework_id is None:
            raise Disconnected(f"{call} was not sent: the framework is not registered")
        self._send({"type": call, "framework_id": {"value": self.framework_id}, **body})

    @property
    def connected(self) -> bool:
        """Only for pymesos' own calls, which would return silently if this were False: they must raise instead."""
        if self.framework_id is None:
            raise Disconnected("the framework is not registered yet")
        return True

    @property
    def subscribed(self) -> bool:
        """Whether there is a subscription just now."""
        return self.stream_id is not None and not self._subscription.stopping

    def _send(self, body: Any, path: str = PATH, method: str = "POST", headers: Any = None) -> dict[str, Any]:
        """Raises Disconnected, or CallRefused with Mesos' words."""
        what = body.get("type", path) if isinstance(body, dict) else path
        self._answered(
            what, lambda client, id_header: [client.request(method, path, body, {**(headers or {}), **id_header})]
        )
        return {}  # Mesos answers calls with 202 and nothing.

    def _send_all(self, what: str, bodies: Sequence[Any]) -> None:
        """As `_send` for each body, but all are sent before the answers are read."""
        self._answered(what, lambda client, id_header: client.pipeline("POST", PATH, bodies, id_header))

    def _answered(self, what: str, send: Callable[[Client, dict[str, str]], list[Response]]) -> None:
        """Raises as `_send`."""
        with self._calls_lock:
            stream_id = self.stream_id
            if stream_id is None or self._leader is None or self._subscription.stopping:
                raise Disconnected(f"{what} was not sent: not subscribed to {self.leading}")
            if self._calls is None:
                self._calls = Client(self._leader, self._answer_within_s, self._access)
            try:
                answers = send(self._calls, {"Mesos-Stream-Id": stream_id})
            except Unreachable as error:
                self.stream_id = None  # Else each of the calls that wait for this one would time out, too.
                self._subscription.reopen()
                raise Disconnected(f"{what} was not answered: {error}", error.may_have_arrived) from error
            statuses = {answer.status for answer in answers}
            if statuses & {307, 503}:
                self._subscription.reopen()  # No longer the leader.
                raise Disconnected(f"{what} was not taken: HTTP {min(statuses & {307, 503})}")
        refused = [answer for answer in answers if not 200 <= answer.status < 300]
        if refused:
            raise CallRefused(str(HttpError(refused[0].status, refused[0].body, what)))

    def _drop_calls(self) -> None:
        self.stream_id = None
        if (calls := self._calls) is not None and not self._torn_down:  # The answer to TEARDOWN may come after the end.
            calls.end()  # A call that hangs must keep us neither from subscribing again nor from stopping.
        with self._calls_lock:
            if self._calls is not None:
                self._calls.close()
                self._calls = None

    # -- the subscription ------------------------------------------------------------------

    def open(self) -> Stream:
        body: Event = {"type": "SUBSCRIBE", "subscribe": {"framework_info": self.framework}}
        if self._framework.get("id"):
            body["framework_id"] = self._framework["id"]
        self._changes = self.leading.changes

        def subscribe(endpoint: Endpoint) -> Stream:
            silence_s = _MISSED_HEARTBEATS * self._heartbeat_s
            return open_stream(
                endpoint,
                "POST",
                PATH,
                body,
                silence_s=silence_s,
                timeout_s=self._answer_within_s,
                access=self._access,
            )

        try:
            stream, self._leader = at_the_leader(self.leading, subscribe)
        except HttpError as error:
            if error.status in (400, 401, 403):
                raise FinalError(f"{error}. Check the principal, its secret and the framework's settings") from error
            raise
        self._stream = stream
        return stream

    def event(self, event: Event) -> None:
        if not self._started:
            return
        if event.get("type") == "SUBSCRIBED":
            if self.leading.changes != self._changes:
                self._subscription.reopen()  # Another master took over while this one was asked.
                return
            self._heartbeat_s = float(event["subscribed"].get("heartbeat_interval_seconds") or _HEARTBEAT_S)
            if self._stream is not None:
                self._stream.expect_within(_MISSED_HEARTBEATS * self._heartbeat_s)
                # Not before: the master takes no call until it has subscribed us.
                self.stream_id = self._stream.headers.get("mesos-stream-id", "")
            self._told_registered, self.trouble = True, None
        self.on_event(event)

    def on_subscribed(self, event: Event) -> None:
        # pymesos splits the master's address at the colon, and IPv6 addresses have many.
        known_before, self.framework_id = self.framework_id, event["framework_id"]["value"]
        assert self._leader is not None  # This event came on its stream.
        version = event.get("master_info", {}).get("version")
        master = {"hostname": self._leader.host, "port": self._leader.port, **({"version": version} if version else {})}
        if known_before is None:
            self.sched.registered(self, {"value": self.framework_id}, master)
        else:
            self.sched.reregistered(self, master)

    def on_inverse_offers(self, event: Event) -> None:
        # pymesos calls this for OFFERS too when it does not know the version.
        if "inverse_offers" in event:
            super().on_inverse_offers(event)

    def on_failure(self, event: Event) -> None:
        super().on_failure({"status": None, **event})  # pymesos needs `status`, which Mesos sets only if it knows it.

    def on_error(self, event: Event) -> None:
        raise FinalError(event.get("message", "Mesos ended the framework without a message"))

    def closed(self, reason: str) -> None:
        was_subscribed, self._told_registered = self._told_registered, False
        self._drop_calls()
        said, self.trouble = self.trouble, reason
        level = logging.DEBUG if reason == said else logging.INFO if self._torn_down else logging.WARNING
        logger.log(level, "no subscription to the master at %s: %s; trying again", self.leading, reason)
        if was_subscribed:
            self.sched.disconnected(self)

    def failed(self, error: FinalError) -> None:
        self._drop_calls()
        self.leading.close()
        self.trouble = str(error)
        self.sched.error(self, str(error))


def encode_data(data: bytes) -> str:
    """Bytes in the form of a ``bytes`` field in a JSON message."""
    return base64.b64encode(data).decode("ascii")


def decode_data(text: str) -> bytes:
    """Raises ValueError if `text` is no base64."""
    return base64.b64decode(text, validate=True)
