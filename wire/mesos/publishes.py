"""The answers to an agent's PUBLISH_RESOURCES: a launch waits until the agent has taken its answer."""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import dataclass

from serenity.wire.mesos.resources import Json
from serenity.wire.mesos.subscription import Backoff
from serenity.wire.transport.http import Client, HttpError, Unreachable

logger = logging.getLogger(__name__)

_CALL = "UPDATE_PUBLISH_RESOURCES_STATUS"
# Most failures (no free file descriptor, a cut connection) are over in a moment, and a launch waits.
_BACKOFF = Backoff(first_s=0.02, max_s=0.5)


@dataclass(slots=True)
class _Publish:
    uuid: Json
    failures: int = 0


class PublishAnswers:
    """Answers each publish of one stream with OK, repeated until the agent takes it or until `end`.

    No answer is carried over to the next stream: when a provider's stream ends, the agent gives up the launches that
    waited on it.  The answers have a thread of their own, so that one that fails does not keep the next event from
    being read.  `client` connects at once, so that a launch needs no new file descriptor.
    """

    def __init__(self, client: Client, path: str, provider_id: str, stream_id: str) -> None:
        self._client = client
        self._path = path
        self._provider_id = provider_id
        self._headers = {"Mesos-Stream-Id": stream_id}
        self._changed = threading.Condition()  # Guards the next four.
        self._new: deque[_Publish] = deque()
        self._failed: deque[_Publish] = deque()
        self._unanswered = 0
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="publishes", daemon=True)
        self._thread.start()

    def answer(self, uuid: Json) -> None:
        """Queues an answer.  Never waits."""
        with self._changed:
            self._new.append(_Publish(uuid))
            self._unanswered += 1
            self._changed.notify_all()

    def settle(self, timeout_s: float) -> bool:
        """Waits until the agent has taken all answers, or until `end`; returns False if neither comes in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._unanswered == 0 or self._ended, timeout_s)

    def end(self) -> None:
        """May be called from any thread.  Does not wait for a call under way, but makes it fail."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._client.end()

    def _run(self) -> None:
        try:
            self._client.open()
        except Unreachable as error:
            logger.debug("no connection is kept for the answers to publishes: %s", error)
        pauses, pause_s = _BACKOFF.pauses(), 0.0
        while (publish := self._next(pause_s)) is not None:
            if self._say(publish):
                pauses, pause_s = _BACKOFF.pauses(), 0.0
            else:
                pause_s = next(pauses)
        self._client.close()

    def _next(self, pause_s: float) -> _Publish | None:
        """Returns a new publish at once, a failed one after the pause, and None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._new or self._ended, pause_s if self._failed else None)
            if self._ended:
                return None
            return (self._new or self._failed).popleft()

    def _say(self, publish: _Publish) -> bool:
        """Tries to answer; returns whether the agent has taken the answer."""
        status = {"uuid": publish.uuid, "status": "OK"}
        call = {"type": _CALL, "resource_provider_id": {"value": self._provider_id}}
        try:
            answer = self._client.request(
                "POST", self._path, {**call, "update_publish_resources_status": status}, self._headers
            )
            if not 200 <= answer.status < 300:
                raise HttpError(answer.status, answer.body, _CALL)
        except Exception as error:
            with self._changed:
                self._failed.append(publish)
                ended = self._ended
            publish.failures += 1
            if publish.failures == 1 and not ended:
                logger.error("a publish is not answered yet, and its launch waits; trying on: %s", error)
                if not isinstance(error, Unreachable | HttpError):  # Unforeseen; the launch waits all the same.
                    logger.exception("in answering a publish")
            return False
        if publish.failures:
            logger.warning("a publish is answered after %d attempts that failed", publish.failures)
        with self._changed:
            self._unanswered -= 1
            self._changed.notify_all()
        return True
