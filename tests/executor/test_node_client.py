"""The node's socket, the executor's side, with a made-up estimator at the other end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from serenity.daemon.clock import SystemClock
from serenity.executor.guarding.accusations import Accusations, accusation
from serenity.executor.node_client import NodeClient
from serenity.qos.frame import BEST_EFFORT, PRODUCTION, Container, Frame
from serenity.wire.messages.node import Hello, Lease, Release, socket_path
from tests.executor.guarded import finding
from tests.executor.made_up_agent import AGENT_ID
from tests.manual_clock import ManualClock
from tests.polling import eventually

WEB, TASK = Container("web-c1", PRODUCTION, "web", 1.0, 1e9), Container("t1", BEST_EFFORT, "job", 0.5, 1e8)


def frame(t: float, *containers: Container) -> Frame:
    return Frame(t, containers, {"cpu": np.full(len(containers), 0.25)})


@pytest.fixture
def received(estimator, tmp_path):
    """The frames that have come, in order: first two of the history."""
    estimator.history = (frame(1.0, WEB).to_json(), frame(2.0, WEB).to_json())
    frames: list[Frame] = []
    client = NodeClient(
        socket_path(AGENT_ID, tmp_path / "run"),
        Hello(framework_id="F", executor_id="E", container_id="C", pid=1),
        lambda new, _over: frames.extend(new),
        Accusations(SystemClock(), "C"),
    )
    client.start()
    yield frames
    client.stop()


def test_frames_share_who_is_there_as_long_as_that_stays(estimator, received):
    eventually(lambda: estimator.heard and len(received) == 2, "the history")
    renamed = replace(WEB, job="web2")
    for each in (frame(3.0, WEB), frame(4.0, WEB, TASK), frame(5.0, WEB, TASK), frame(6.0, renamed, TASK)):
        estimator.send(each)
    eventually(lambda: len(received) == 6, "the frames")
    assert [each.t for each in received] == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    first, second, third, fourth, fifth, sixth = (each.containers for each in received)
    assert first is second is third
    assert fourth is fifth
    assert (first, fifth, sixth) == ((WEB,), (WEB, TASK), (renamed, TASK))


def test_what_nobody_has_foreseen_costs_the_connection_and_not_the_thread(estimator, tmp_path, caplog):
    """Without the thread leases would pile up, and no frame would ever come again."""
    received: list[Frame] = []

    def take(frames, _over):
        received.extend(frames)
        if [each.t for each in frames] == [1.0]:
            raise ZeroDivisionError("not foreseen")

    hello = Hello(framework_id="F", executor_id="E", container_id="C", pid=1)
    path = socket_path(AGENT_ID, tmp_path / "run")
    client = NodeClient(path, hello, take, Accusations(SystemClock(), "C"))
    client.start()
    try:
        eventually(lambda: len(estimator.heard) == 2, "it is there")
        client.lease("contention", 10.0)
        eventually(lambda: len(estimator.heard) == 3, "the lease")
        estimator.send(frame(1.0, WEB))
        eventually(lambda: len(estimator.heard) == 6, "it is back, and so is its lease")
        estimator.send(frame(2.0, WEB))
        eventually(lambda: [each.t for each in received] == [1.0, 2.0], "the next frame")
    finally:
        client.stop()
    assert not client.connected
    assert "not foreseen" in caplog.text


def test_who_holds_the_valve_says_so_at_once_when_the_estimator_is_back(estimator, tmp_path):
    """Until then all slack would be offered, in the midst of a contention."""
    hello = Hello(framework_id="F", executor_id="E", container_id="C", pid=1)
    path = socket_path(AGENT_ID, tmp_path / "run")
    client = NodeClient(path, hello, lambda *_: None, Accusations(SystemClock(), "C"))
    client.start()
    try:
        eventually(lambda: estimator.heard, "it is there")
        client.lease("contention", 10.0)
        eventually(lambda: any(isinstance(each, Lease) for each in estimator.heard), "the lease")
        del estimator.heard[:]
        estimator.hang_up()
        eventually(lambda: len(estimator.heard) == 3, "it is back")
        assert estimator.heard[2] == Lease(holder="E", reason="contention", ttl_s=10.0)
        client.release()
        eventually(lambda: isinstance(estimator.heard[-1], Release), "the release")
        del estimator.heard[:]
        estimator.hang_up()
        eventually(lambda: len(estimator.heard) == 2, "it is back, and holds nothing")
    finally:
        client.stop()


def test_without_an_estimator_nobody_knows_who_has_an_owner(tmp_path):
    accusations = Accusations(ManualClock(), "C")
    hello = Hello(framework_id="F", executor_id="E", container_id="C", pid=1)
    client = NodeClient(socket_path(AGENT_ID, tmp_path), hello, lambda *_: None, accusations)
    found = finding(("another's", 1.0))
    client.accuse(accusation(found.suspects[0].container, found))
    assert accusations.take_unowned() == set()
