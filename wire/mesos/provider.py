"""The resource provider driver: how slack reaches a stock Mesos agent.

Source: Mesos ``docs/resource-provider.md``, ``src/resource_provider/manager.cpp``, and what
a real agent was seen to do (docs/mesos.md).  Three rules keep the agent and all tasks on it
alive:

* ``PUBLISH_RESOURCES`` is answered OK, at once and always (`publishes`).  FAILED, or a connection
  that dies with an answer pending, makes the agent destroy the whole executor container.
* Two live streams with one provider id abort the agent.  The old stream is closed, and the
  agent given time to notice, before the next is opened, even if another process had the old one.
* A provider that comes back without its id is another provider to the agent, and the slack is
  offered twice.  The caller keeps the id on disk.
"""

from __future__ import annotations

import base64
import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Protocol

from serenity.wire.mesos.publishes import PublishAnswers
from serenity.wire.mesos.resources import Json, Resources
from serenity.wire.mesos.subscription import Backoff, Event, FinalError, Subscription
from serenity.wire.transport.access import ANONYMOUS, Access
from serenity.wire.transport.http import Client, Endpoint, HttpError, Stream, Unreachable, open_stream, request

logger = logging.getLogger(__name__)

PATH = "/api/v1/resource_provider"
# The agent notices a closed stream when its event loop comes to it; measured below 10 ms.
_NOTICE_S = 0.25
# A SUBSCRIBE that we give up on stays in a hanging agent's queue, ahead of the next one: so wait long.
_SUBSCRIBE_TIMEOUT_S = 60.0
# A starting agent listens before it has its routes (seen: 13 ms of 404).  With the pauses of the
# backoff, this many 404s in a row take half a minute; after that the agent has no route for us.
_NOT_FOUND_MAX = 10
# How long answers that fail at the moment are retried before the stream, and with it their launches, is given up.
_LAST_ANSWERS_S = 1.0
_NOT_LET_IN = "Check the principal, its secret, and what it may do on the agent"
# By HTTP status, for answers that stay the same however often we try.
_REMEDIES = {400: "This agent does not take what this release of Serenity sends", 401: _NOT_LET_IN, 403: _NOT_LET_IN}


class Provider(Protocol):
    """The callbacks; all are called in the driver's one thread."""

    def subscribed(self, provider_id: str) -> None:
        """The agent knows us: keep the id, and report the total (nothing is offered before)."""

    def published(self, held: Resources) -> None:
        """A launch is on its way; `held` is all that the agent uses of this provider, including that launch."""

    def unsubscribed(self, reason: str) -> None: ...

    def failed(self, reason: str) -> None:
        """No further attempt makes sense; the text says what to do."""


class ProviderDriver:
    """One local resource provider on one agent.

    `info` is the ResourceProviderInfo without its id; `provider_id` is the id that the agent gave
    this provider earlier, if any.  `before` is called ahead of each SUBSCRIBE, in the driver's
    thread: it raises FinalError if there must be no SUBSCRIBE, Unreachable or HttpError if there
    must be none yet.

    Raises:
        ValueError: `agent` is no address.
    """

    def __init__(
        self,
        provider: Provider,
        agent: str,
        info: Json,
        provider_id: str | None = None,
        access: Access = ANONYMOUS,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self._provider = provider
        self._access = access
        self._before = before
        self._agent = Endpoint.parse(agent, 5051)
        self._info = dict(info)
        self._id = provider_id
        self._stream: Stream | None = None  # The last one opened.
        self._stream_id: str | None = None  # From SUBSCRIBED to the end of the stream.
        self._not_found = 0  # 404s in a row.
        # Reports and answers have a connection each: a launch must not wait for a report that the agent takes slowly.
        self._reports = _Calls(self._agent, access)
        self._answers: PublishAnswers | None = None  # Those of the present stream.
        self._subscription = Subscription(self, Backoff(first_s=_NOTICE_S * 2, max_s=5.0), "provider stream")

    @property
    def provider_id(self) -> str | None:
        return self._id

    @property
    def subscribed(self) -> bool:
        return self._stream_id is not None and not self._subscription.stopping

    def start(self) -> None:
        self._subscription.start()

    def stop(self) -> None:
        """Closes the stream: the slack leaves the offers at once, running tasks go on.

        A launch whose publish was not answered yet fails, and its executor's other tasks with
        it: lower the total first, and let launches under way arrive.
        """
        if (answers := self._answers) is not None:
            answers.settle(_LAST_ANSWERS_S)
        self._subscription.stop()
        self._drop()

    def reopen(self) -> None:
        self._subscription.reopen()

    # -- calls ------------------------------------------------------------------------------

    def update_state(self, total: Resources, version: bytes) -> None:
        """Replaces the provider's total, which includes what is held.

        A new `version` (16 bytes) rescinds the outstanding offers that hold provider
        resources even when the total is the same; pass the old one unless that is wanted.

        Raises:
            Unreachable: not subscribed just now.  HttpError: the agent refused it.
        """
        resources = [{**each, "provider_id": {"value": self._id}} for each in total.to_json()]
        uuid_text = base64.b64encode(version).decode("ascii")
        state = {"resources": resources, "resource_version_uuid": {"value": uuid_text}}
        call = "UPDATE_STATE"
        with self._reports.lock:
            stream_id = self._stream_id
            if stream_id is None or self._subscription.stopping:
                raise Unreachable(f"{call} was not sent: not subscribed to the agent at {self._agent}")
            answer = self._reports.client().request(
                "POST",
                PATH,
                {"type": call, "resource_provider_id": {"value": self._id}, "update_state": state},
                {"Mesos-Stream-Id": stream_id},
            )
        if not 200 <= answer.status < 300:
            raise HttpError(answer.status, answer.body, call)

    def _drop(self) -> None:
        self._stream_id = None
        answers, self._answers = self._answers, None
        if answers is not None:
            answers.end()
        self._reports.close()

    # -- the subscription ---------------------------------------------------------------------

    def open(self) -> Stream:
        self._stream = None
        info = dict(self._info)
        if self._id is not None:
            info["id"] = {"value": self._id}
            self._let_agent_notice()
        self._before()
        if self._subscription.stopping:  # A process that waited for our end may have opened a stream.
            raise Unreachable("SUBSCRIBE was not sent: we are stopping")
        body = {"type": "SUBSCRIBE", "subscribe": {"resource_provider_info": info}}
        try:
            self._stream = open_stream(
                self._agent, "POST", PATH, body, timeout_s=_SUBSCRIBE_TIMEOUT_S, access=self._access
            )
        except HttpError as error:
            self._not_found = self._not_found + 1 if error.status == 404 else 0
            if error.status in _REMEDIES:
                raise FinalError(f"{error}. {_REMEDIES[error.status]}") from error
            if self._not_found >= _NOT_FOUND_MAX:
                raise FinalError(f"{error}. The agent must be Mesos 1.8 or newer") from error
            raise
        self._not_found = 0
        return self._stream

    def _let_agent_notice(self) -> None:
        """Returns once the agent has noticed the end of any stream with our id that ended before this call."""
        request(self._agent, "GET", "/version", access=self._access)  # Any answer shows that the agent is awake.
        time.sleep(_NOTICE_S)

    def event(self, event: Event) -> None:
        if event["type"] == "SUBSCRIBED":
            self._id = provider_id = str(event["subscribed"]["provider_id"]["value"])
            self._stream_id = self._stream.headers.get("mesos-stream-id", "") if self._stream is not None else ""
            client = Client(self._agent, access=self._access)
            self._answers = PublishAnswers(client, PATH, provider_id, self._stream_id)
            self._provider.subscribed(provider_id)
        elif event["type"] == "PUBLISH_RESOURCES":
            self._publish(event["publish_resources"])
        elif event["type"] not in ("ACKNOWLEDGE_OPERATION_STATUS", "RECONCILE_OPERATIONS", "HEARTBEAT"):
            logger.warning("the agent sent a %s event, which slack has no use for", event["type"])

    def _publish(self, publish: Json) -> None:
        if self._answers is not None:
            self._answers.answer(publish["uuid"])  # First: the launch waits for it.
        self._provider.published(Resources.from_json(publish.get("resources", [])))

    def closed(self, reason: str) -> None:
        refused = self._stream is not None and self._stream.ended_by_peer and self._stream_id is None
        if refused and self._id is not None:
            # 200 and an orderly end without an event: the agent does not know this id (its work
            # directory is new), and we must subscribe without one.  If the agent dies at this
            # very moment, the stream is cut off instead, and the id kept.
            logger.warning("the agent does not know resource provider %s; subscribing afresh", self._id)
            self._id = None
        self._drop()
        self._provider.unsubscribed(reason)

    def failed(self, error: FinalError) -> None:
        self._drop()
        self._provider.failed(str(error))


class _Calls:
    """A kept connection for calls of one kind, one at a time: hold `lock` while using `client`."""

    def __init__(self, agent: Endpoint, access: Access) -> None:
        self.lock = threading.Lock()
        self._agent = agent
        self._access = access
        self._client: Client | None = None

    def client(self) -> Client:
        if self._client is None:
            self._client = Client(self._agent, access=self._access)
        return self._client

    def close(self) -> None:
        """Waits for a call under way."""
        with self.lock:
            if self._client is not None:
                self._client.close()
                self._client = None


def new_version() -> bytes:
    """A new resource version, different from every other."""
    return uuid.uuid4().bytes


def slack(role: str | None, **scalars: float) -> Resources:
    """Revocable scalars, reserved to `role` (None: for any framework that takes revocable resources)."""
    fields: Json = {"revocable": {}}
    if role is not None:
        # STATIC: with DYNAMIC the agent reports and the master offers them, but then refuses every
        # launch ("Dynamically reserved resource … cannot be created from revocable resources").
        fields["reservations"] = [{"type": "STATIC", "role": role}]
    total = Resources()
    for name, amount in scalars.items():
        total += Resources.scalar(name, amount, **fields)
    return total
