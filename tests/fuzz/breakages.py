"""Serenity broken on purpose, one promise at a time: a fuzzer that does not notice is worth nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serenity.framework.jobs.job import Ended, Ending, Seen
from serenity.framework.mesos import pursuit, updates
from serenity.framework.store.changes import Changes, Snapshot
from serenity.wire.mesos import subscription
from serenity.wire.mesos.executor import ExecutorDriver
from serenity.wire.mesos.resources import Json
from serenity.wire.messages.api import AttemptState
from serenity.wire.messages.reasons import Reason
from serenity.wire.transport.recordio import RecordReader
from tests.fuzz.disk import Disk


def acknowledges_before_it_commits(patch: pytest.MonkeyPatch) -> None:
    """The disk says "written", and writes when it comes to it."""
    commit, load = Disk.commit, Disk.load
    unwritten: dict[Disk, Changes] = {}

    def commit_later(self: Disk, changes: Changes) -> None:
        if self in unwritten:
            commit(self, unwritten[self])
        unwritten[self] = changes

    def load_what_is_there(self: Disk) -> Snapshot:
        unwritten.pop(self, None)
        return load(self)

    patch.setattr(Disk, "commit", commit_later)
    patch.setattr(Disk, "load", load_what_is_there)


def launches_without_having_stored_it(patch: pytest.MonkeyPatch) -> None:
    commit = Disk.commit

    def commit_all_but_launches(self: Disk, changes: Changes) -> None:
        for task_id in [each for each, it in changes.attempts.items() if it.state is AttemptState.LAUNCHING]:
            del changes.attempts[task_id]
        commit(self, changes)

    patch.setattr(Disk, "commit", commit_all_but_launches)


def keeps_no_update_for_the_next_subscription(patch: pytest.MonkeyPatch) -> None:
    subscribe = ExecutorDriver.open

    def subscribe_without_updates(self: ExecutorDriver) -> object:
        self.updates.clear()
        return subscribe(self)

    patch.setattr(ExecutorDriver, "open", subscribe_without_updates)


def charges_for_rescinded_offers(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(updates._BY_MESOS_REASON, "REASON_INVALID_OFFERS", Reason.LAUNCH_FAILED)


def believes_every_answer_to_a_reconciliation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(updates, "_doubtful", lambda *_: False)


def asks_to_kill_only_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(pursuit.Pursuit, "_kills", lambda *_: ())


def ends_what_it_is_not_sure_of(patch: pytest.MonkeyPatch) -> None:
    """A reconciliation that finds the task is taken for one that does not."""
    ending = Ending(AttemptState.LOST, Reason.LOST)
    decode = updates.decode

    def decode_rashly(status: Json) -> updates.Update:
        update = decode(status)
        if isinstance(update.event, Seen) and status.get("reason") == "REASON_RECONCILIATION":
            return updates.Update(update.task_id, Ended(ending))
        return update

    patch.setattr("serenity.framework.core.decode", decode_rashly)


def takes_each_chunk_for_whole_records(patch: pytest.MonkeyPatch) -> None:
    class Hasty(RecordReader):
        def feed(self, chunk: bytes) -> Iterator[bytes]:
            self._buffer.clear()
            self._record_bytes = None
            return super().feed(chunk)

    patch.setattr(subscription, "RecordReader", Hasty)


def starts_at_once_what_mesos_may_still_be_ending(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("serenity.framework.core._REMOVED_LINGERS_S", 0.0)
