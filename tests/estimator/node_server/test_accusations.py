"""What one executor says of a task of another."""

from __future__ import annotations

import pytest

from serenity.wire.messages import node
from serenity.wire.messages.kill_record import Candidate, Detector, Protected, Selection, Signal, Window
from tests.estimator.node_server.conftest import TASK
from tests.polling import eventually


def accuse(task):
    return node.Accuse(
        task_id=task,
        ttl_s=3.0,
        cause="llc",
        severity=0.5,
        protected_id="c1",
        protected=Protected(framework="web", executor="e", container="c1", task="api"),
        signal=Signal(name="CPI", unit="", observed=2.9, baseline=1.4, deviation=1.07, threshold=None),
        window=Window(start=1.0, end=2.0, samples=5, missing=1),
        detector=Detector(name="drop", parameters={}),
        selection=Selection(strategy="combined", candidates=(Candidate(task=task, score=0.9),)),
    )


@pytest.fixture
def executors(peer, heard):
    """Two that have been greeted: one that runs task t, and one that runs none."""
    owner = peer(node.Hello(framework_id="F", executor_id="E", container_id="owner", pid=1))
    other = peer(node.Hello(framework_id="G", executor_id="E", container_id="other", pid=2))
    for each in (owner, other):
        assert isinstance(each.hear(), node.Welcome) and isinstance(each.hear(), node.History)
    owner.say(node.Tasks(tasks=(TASK,)))
    eventually(lambda: heard.words)
    return owner, other


def test_an_accusation_goes_to_the_executor_that_runs_the_task_and_to_no_other(server, executors):
    owner, other = executors
    other.say(accuse("t"))
    assert owner.hear() == node.Accused(by="other", accusation=accuse("t"))
    server.publish(node.encode_line(node.Sample(frame={"t": 1.0})))
    assert isinstance(other.hear(), node.Sample)  # It has heard nothing before.


def test_who_accuses_what_nobody_else_runs_is_told_so(server, executors):
    owner, other = executors
    other.say(accuse("unknown"))
    assert other.hear() == node.Unowned(task_id="unknown")
    owner.say(accuse("t"))  # Its own.
    assert owner.hear() == node.Unowned(task_id="t")
    owner.close()
    eventually(lambda: server.executors == 1)
    other.say(accuse("t"))
    assert other.hear() == node.Unowned(task_id="t")


def test_accusations_do_not_crowd_out_samples(server, executors):
    owner, other = executors
    for _ in range(100):
        other.say(accuse("t"))
    other.say(node.Release(holder="E"))
    heard_of, line = 0, node.encode_line(node.Sample(frame={"t": 1.0}))
    server.publish(line)
    while not isinstance(owner.hear(), node.Sample):
        heard_of += 1
    assert 1 <= heard_of <= 16
    assert server.executors == 2


def test_nobody_accuses_before_a_hello(server, peer):
    stranger = peer(hello=None)
    stranger.say(accuse("t"))
    assert stranger.socket.recv(100) == b""
