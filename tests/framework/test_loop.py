"""The loop: nothing is answered or called before it is stored, and a store that cannot be written ends it."""

from __future__ import annotations

import queue
import threading
import time

import pytest

from serenity.daemon.clock import SystemClock
from serenity.framework import loop as loop_module
from serenity.framework import metrics
from serenity.framework.core import Core, CoreConfig, UnknownJob
from serenity.framework.loop import Loop, LoopEnded
from serenity.framework.store.changes import Snapshot
from serenity.framework.store.errors import StoreBusyError, StoreError, StoreLostError
from serenity.wire.messages.api import JobRequest
from tests.manual_clock import ManualClock
from tests.polling import eventually

CONFIG = CoreConfig("serenity executor", {}, executor_cpus=0.1, executor_mem_mb=128.0, reconcile_every_s=600.0)
REQUEST = JobRequest(command=("true",))


class Running:
    """A loop whose commits go through `commit`, a function of the test's."""

    def __init__(self, commit, clock=None):
        self.happened: queue.Queue = queue.Queue()

        def noted(changes):
            commit(changes)
            self.happened.put("commit")

        self.metrics = metrics.table()
        core = Core(Snapshot(None, None, 0, (), (), (), ()), CONFIG, ManualClock(1e9))
        self.loop = Loop(core, noted, self._send, lambda changes: None, clock or SystemClock(), self.metrics)
        self.loop.start()

    def _send(self, calls):
        if calls:
            self.happened.put([type(each).__name__ for each in calls])


@pytest.fixture
def running():
    loops = []

    def start(*arguments):
        loops.append(Running(*arguments))
        return loops[-1]

    yield start
    for each in loops:
        each.loop.stop()


def test_calls_go_out_and_answers_are_given_only_after_the_commit(running):
    gate = threading.Event()
    one = running(lambda changes: gate.wait(10))
    one.loop.tell(lambda core: core.subscription_began("F"))
    answers = []
    asking = threading.Thread(target=lambda: answers.append(one.loop.ask(lambda core: core.submit(REQUEST))))
    asking.start()
    asking.join(0.3)
    assert asking.is_alive() and one.happened.empty()
    gate.set()
    asking.join(5)
    assert answers[0].name == "true"
    assert one.happened.get(timeout=5) == "commit"
    assert "Reconcile" in one.happened.get(timeout=5)


def test_what_arrives_during_a_commit_is_committed_together(running):
    gate, commits = threading.Event(), []

    def commit(changes):
        commits.append(len(changes.jobs))
        gate.wait(10)

    one = running(commit)
    threads = [threading.Thread(target=one.loop.ask, args=(lambda core: core.submit(REQUEST),)) for _ in range(20)]
    for each in threads:
        each.start()
    deadline = threading.Event()
    while len(commits) < 1:
        deadline.wait(0.01)
    deadline.wait(0.2)
    gate.set()
    for each in threads:
        each.join(5)
    assert sum(commits) == 20 and len(commits) <= 3


def test_a_busy_store_is_tried_again(running, monkeypatch):
    monkeypatch.setattr(loop_module, "_COMMIT_PAUSE_S", 0.01)
    tries = []

    def commit(changes):
        tries.append(changes)
        if len(tries) < 3:
            raise StoreBusyError("locked")

    one = running(commit)
    assert one.loop.ask(lambda core: core.submit(REQUEST)).name == "true"
    assert len(tries) == 3 and tries[0] is tries[2]
    assert one.metrics.value("serenity_framework_commit_retries_total") == 2


def test_while_the_store_stays_busy_users_are_told_and_nothing_is_called(running, monkeypatch, caplog):
    monkeypatch.setattr(loop_module, "_COMMIT_PAUSE_S", 0.01)

    def commit(changes):
        raise StoreBusyError("cannot write x: the disk is full")

    one = running(commit)
    one.loop.tell(lambda core: core.subscription_began("F"))
    eventually(lambda: one.loop.trouble, "trouble")
    began_s = time.monotonic()
    with pytest.raises(StoreError, match="the disk is full"):
        one.loop.ask(lambda core: core.submit(REQUEST))
    assert time.monotonic() - began_s < 1, "nobody waits for a disk that may be full for hours"
    eventually(lambda: one.metrics.value("serenity_framework_commit_retries_total") > 5, "more tries")
    assert caplog.text.count("the disk is full") == 1
    one.loop.stop()
    assert one.loop.ended.is_set() and one.happened.empty()


def test_a_store_whose_connection_is_gone_ends_the_loop(running):
    def commit(changes):
        raise StoreLostError("gone")

    one = running(commit)
    one.loop.tell(lambda core: core.subscription_began("F"))
    assert one.loop.ended.wait(5) and (one.loop.failure, one.loop.store_lost) == ("gone", True)
    assert one.happened.empty()


def test_who_waits_too_long_is_told_that_it_may_yet_be_done(running):
    gate = threading.Event()
    one = running(lambda changes: gate.wait(10))
    with pytest.raises(TimeoutError, match="it may yet be done"):
        one.loop.ask(lambda core: core.submit(REQUEST), timeout_s=0.1)
    gate.set()


def lost(loop):
    raise StoreLostError("gone")


@pytest.mark.parametrize(("end", "why"), [(lost, "^gone; nothing has been done"), (Loop.stop, "stops; nothing has")])
def test_who_waits_when_the_loop_ends_is_told_so_at_once(running, end, why):
    begun, gate = threading.Event(), threading.Event()

    def commit(changes):
        begun.set()
        gate.wait(10)
        end(one.loop)

    one = running(commit)
    one.loop.tell(lambda core: core.subscription_began("F"))
    assert begun.wait(5)
    said: queue.Queue = queue.Queue()

    def ask():
        with pytest.raises(LoopEnded, match=why) as caught:
            one.loop.ask(lambda core: core.submit(REQUEST), timeout_s=8.0)
        said.put(caught.value)

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join(0.3)
    assert asking.is_alive()
    gate.set()
    said.get(timeout=5)
    ask()  # Nor does anybody wait who comes later.


def test_who_asked_in_a_round_that_fails_is_told_so_at_once(running, caplog):
    one = running(lambda changes: None)
    with pytest.raises(ZeroDivisionError):
        one.loop.ask(lambda core: setattr(core, "end_round", lambda: 1 / 0), timeout_s=5.0)
    assert one.loop.ended.wait(5) and "this is a bug" in one.loop.failure and "this is a bug" in caplog.text


def test_a_message_that_cannot_be_handled_is_logged_and_the_others_go_on(running, caplog):
    one = running(lambda changes: None)
    one.loop.tell(lambda core: core.updated({"nonsense": 1}))
    with pytest.raises(UnknownJob):
        one.loop.ask(lambda core: core.kill("nothing"))
    assert one.loop.ask(lambda core: core.submit(REQUEST)).name == "true"
    assert "this is a bug in Serenity" in caplog.text
    assert one.metrics.value("serenity_framework_message_failures_total") == 1
