"""The loop around the core: gathers what comes in, commits a round's changes, then lets its calls go.

Whatever arrives while a commit is under way makes up the next round: the slower the disk,
the larger the rounds.  While the store cannot be written nothing goes on, and nothing is lost:
no update is acknowledged, nothing launched, and whoever asks is told why.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from serenity.daemon.clock import Clock
from serenity.daemon.metrics import MetricsTable
from serenity.framework.core import Core, IdTaken, UnknownJob
from serenity.framework.crash_points import CrashPoint, passing
from serenity.framework.mesos.calls import Call
from serenity.framework.store.changes import Changes
from serenity.framework.store.errors import StoreBusyError, StoreError, StoreLostError

logger = logging.getLogger(__name__)

T = TypeVar("T")

_MESSAGES_A_ROUND = 5000
_COMMIT_PAUSE_S = 0.5


class LoopEnded(Exception):  # noqa: N818 - reads as what it says
    """The loop has ended before it came to the message; the text says why."""


@dataclass(slots=True)
class _Message:
    do: Callable[[Core], Any]
    answer: Future[Any] | None = None
    result: Any = None
    error: BaseException | None = None


class Loop:
    """One thread (under gevent: greenlet) that alone touches the core."""

    def __init__(
        self,
        core: Core,
        commit: Callable[[Changes], None],
        send: Callable[[Sequence[Call]], None],
        committed: Callable[[Changes], None],
        clock: Clock,
        metrics: MetricsTable,
    ) -> None:
        """`send` must not block; `committed` is told what has become durable."""
        self._core = core
        self._commit_changes = commit
        self._send = send
        self._committed = committed
        self._clock = clock
        self._metrics = metrics
        self._inbox: queue.Queue[_Message] = queue.Queue()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="framework loop", daemon=True)
        self.failure: str | None = None  # Why the loop has ended, if not by `stop`.
        self.store_lost = False  # Whether that was for want of the connection to the database.
        self.trouble: str | None = None  # Why the store cannot be written just now.
        self.ended = threading.Event()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ends after the round under way; whoever then still waits for an answer gets LoopEnded."""
        self._stopping = True
        self.tell(lambda core: None)
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(10.0)

    def tell(self, do: Callable[[Core], Any]) -> None:
        """Has `do` run in the next round."""
        self._inbox.put(_Message(do))

    def ask(self, do: Callable[[Core], T], timeout_s: float = 90.0) -> T:
        """Like `tell`, and returns its result once what it has changed is durable.

        Raises:
            StoreError: the store cannot be written; nothing has been done.
            LoopEnded: nothing has been done, either.
            TimeoutError: no answer in time; `do` may or may not still run.
            And whatever `do` raises.
        """
        if self.trouble is not None:
            raise StoreBusyError(self.trouble)
        message = _Message(do, Future())
        assert message.answer is not None
        self._inbox.put(message)
        if self.ended.is_set():  # Perhaps since before the `put`, and then nobody else takes it out.
            self._refuse_the_rest()
        try:
            result: T = message.answer.result(timeout_s)
        except TimeoutError:
            why = self.trouble or "the framework is overloaded"
            raise TimeoutError(f"no answer within {timeout_s:g} s, and it may yet be done: {why}") from None
        return result

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._round(self._gather())
        except StoreError as error:
            self.failure, self.store_lost = str(error), isinstance(error, StoreLostError)
        except Exception as error:
            logger.exception("this is a bug in Serenity")
            self.failure = f"this is a bug in Serenity: {error!r}"
        finally:
            self.ended.set()
            self._refuse_the_rest()

    def _refuse_the_rest(self) -> None:
        """Answers whatever is in the inbox; no round will."""
        error = LoopEnded(f"{self.failure or 'this instance of the framework stops'}; nothing has been done")
        while True:
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                return
            message.error = error
            _answer(message)

    def _gather(self) -> list[_Message]:
        """Waits for the first message, or for the core's time, and takes all that are there."""
        messages = []
        try:
            messages.append(self._inbox.get(timeout=max(0.001, self._core.next_round_s())))
            while len(messages) < _MESSAGES_A_ROUND:
                messages.append(self._inbox.get_nowait())
        except queue.Empty:
            pass  # Whatever there was has been taken; nothing at all is a round by time.
        return messages

    def _round(self, messages: list[_Message]) -> None:
        for message in messages:
            self._metrics.add("serenity_framework_messages_total")
            try:
                message.result = message.do(self._core)
            except (UnknownJob, IdTaken) as error:
                message.error = error
            except Exception as error:
                # One event that we cannot handle must not stop all others.
                logger.exception("this is a bug in Serenity; the event is dropped")
                self._metrics.add("serenity_framework_message_failures_total")
                message.error = error
        try:
            done = self._core.end_round()
            passing(CrashPoint.DECIDED)
            if done.changes:
                self._commit(done.changes)
                passing(CrashPoint.COMMITTED)
        except Exception as error:
            for message in messages:
                message.error = message.error or error
            raise
        finally:
            for message in messages:
                _answer(message)
        passing(CrashPoint.ANSWERED)
        self._send(done.calls)
        passing(CrashPoint.QUEUED)
        self._metrics.set("serenity_framework_jobs", self._core.jobs_alive)

    def _commit(self, changes: Changes) -> None:
        """Tries until it is done.  Raises StoreError when it never will be."""
        began_s = self._clock.monotonic_s()
        while True:
            try:
                self._commit_changes(changes)
                break
            except StoreBusyError as error:
                if self._stopping:
                    raise
                if self.trouble is None:
                    logger.error("%s; trying again, and nothing is launched or acknowledged until it succeeds", error)
                self.trouble = str(error)
                self._metrics.add("serenity_framework_commit_retries_total")
                threading.Event().wait(_COMMIT_PAUSE_S)
        took_s = self._clock.monotonic_s() - began_s
        if self.trouble is not None:
            logger.warning("the store could be written again after %.1f s", took_s)
            self.trouble = None
        self._metrics.add("serenity_framework_commits_total")
        self._metrics.add("serenity_framework_commit_seconds_total", took_s)
        self._count(changes)
        self._committed(changes)

    def _count(self, changes: Changes) -> None:
        for event in changes.events:
            self._metrics.add("serenity_framework_events_total", type=event.type.value)
        for attempt in changes.attempts.values():
            if attempt.ending is not None:
                reason = attempt.ending.reason.code if attempt.ending.reason else ""
                self._metrics.add("serenity_framework_attempts_ended_total", state=attempt.state.value, reason=reason)


def _answer(message: _Message) -> None:
    if message.answer is None:
        return
    if message.error is not None:
        message.answer.set_exception(message.error)
    else:
        message.answer.set_result(message.result)
