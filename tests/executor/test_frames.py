"""Where frames come from, and that a tick which fails is not the last one."""

from __future__ import annotations

import logging

import numpy as np

from serenity.executor.frames import Frames
from serenity.executor.guarding.accusations import Accusations
from serenity.executor.guarding.actions import TaskView
from serenity.executor.guarding.decisions import Decisions
from serenity.executor.guarding.overcommitment import MemoryOverrun, SlackLimits
from serenity.executor.inbox import Decided
from serenity.executor.tick import TickLoop
from serenity.qos.frame import BEST_EFFORT, Container, Frame
from serenity.wire.messages.node import Overcommitment
from tests.manual_clock import ManualClock


def frame(t):
    return Frame(t, (), {})


class Sampler:
    def __init__(self):
        self.declared = None
        self.closed = False

    def declare(self, tasks):
        self.declared = tasks

    def sample(self, now):
        return frame(now)

    def close(self):
        self.closed = True


def made_frames():
    clock = ManualClock(1000.0)
    sampler = Sampler()
    return clock, sampler, Frames(clock, lambda: sampler, interval_s=0.01)


def times(frames):
    return [each.t for each in frames.next()]


def test_the_history_of_a_new_connection_is_not_taken_twice():
    _, _, frames = made_frames()
    frames.received([frame(1.0), frame(2.0)], None)
    frames.received([frame(3.0)], Overcommitment(cpus=0.5))
    assert times(frames) == [1.0, 2.0, 3.0]
    assert frames.overcommitment.cpus == 0.5
    frames.received([frame(2.0), frame(3.0), frame(4.0)], None)
    assert times(frames) == [4.0]
    assert times(frames) == []


def test_an_estimator_that_has_gone_accuses_nobody_for_ever():
    clock, _, frames = made_frames()
    frames.received([frame(1.0)], Overcommitment(mem_bytes=1 << 30))
    assert times(frames) == [1.0] and frames.overcommitment.mem_bytes == 1 << 30
    clock.advance(10.0)
    assert times(frames) != [] and frames.overcommitment == Overcommitment()


def test_a_clock_that_was_set_back_blinds_nobody():
    _, _, frames = made_frames()
    frames.received([frame(5000.0)], None)
    assert times(frames) == [5000.0]
    frames.received([frame(4000.0), frame(4001.0)], None)  # An estimator started after the clock was set.
    assert times(frames) == [4000.0, 4001.0]
    frames.received([frame(4002.0)], None)
    assert times(frames) == [4002.0]


def test_without_an_estimator_it_samples_by_itself_and_stops_when_one_comes(caplog):
    clock, sampler, frames = made_frames()
    frames.declare(("a task",))
    assert times(frames) == []  # It may be just restarting.
    clock.advance(6.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            clock.advance(1.0)
            assert times(frames) == [clock.now_s()]
    assert sampler.declared == ("a task",)
    assert [each.message for each in caplog.records] == [
        "no estimator: sampling by ourselves, with baselines learnt from now on"
    ]
    frames.received([frame(clock.now_s() + 1.0)], None)
    assert times(frames) == [clock.now_s() + 1.0]
    assert sampler.closed


def test_closing_ends_a_wait_at_once():
    clock = ManualClock()
    frames = Frames(clock, Sampler, interval_s=60.0)
    frames.close()
    assert frames.next() == []


class Pipeline:
    def __init__(self):
        self.stepped = []

    def step(self, each):
        self.stepped.append(each.t)
        if each.t == 2.0:
            raise RuntimeError("a stage is broken")
        return []


class Guard:
    def __init__(self):
        self.use, self.rss_bytes = [], []

    def decide(self, findings, use, tasks, rss_bytes):
        self.use.append(dict(use))
        self.rss_bytes.append(rss_bytes)
        return []

    def make_room(self, finding, tasks):
        return []


def tick_loop(frames, clock, pipeline, guard, put, views=None):
    class Node:
        lease = accuse = None

        def release(self):
            """There is no lease."""

    accusations, limits = Accusations(clock, "here"), SlackLimits(1.0, 0.1, clock)
    decisions = Decisions(pipeline, guard, accusations, MemoryOverrun(clock), limits)
    return TickLoop(frames, decisions, Node(), 10.0, lambda: views or {}, put, clock, lambda: False)


def test_all_frames_are_learnt_from_and_decisions_made_on_the_newest():
    clock, _, frames = made_frames()
    pipeline, guard, said = Pipeline(), Guard(), []
    rows = (Container("ours", BEST_EFFORT, "job", 0.5, 1e8), Container("foreign", BEST_EFFORT, "job", 0.5, 1e8))
    newest = Frame(5.0, rows, {"cpu": np.array([0.4, 0.9]), "rss_bytes": np.array([np.nan, 7.0])})
    loop = tick_loop(frames, clock, pipeline, guard, said.append, {"ours": TaskView("ours", 0.5)})
    loop.tick([frame(3.0), frame(4.0), newest])
    assert pipeline.stepped == [3.0, 4.0, 5.0]
    assert guard.use == [{"ours": 0.4}]
    assert guard.rss_bytes == [{"foreign": 7.0}]
    assert not any(isinstance(each, Decided) for each in said)


def test_a_tick_that_fails_is_not_the_last(caplog):
    clock, _, frames = made_frames()
    pipeline, guard = Pipeline(), Guard()
    loop = tick_loop(frames, clock, pipeline, guard, lambda _: None)
    frames.received([frame(2.0)], None)
    loop.start()
    try:
        frames.received([frame(3.0)], None)
        for _ in range(200):
            frames.received([frame(4.0)], None)
            if guard.use:
                break
            loop._stopping.wait(0.02)
        assert guard.use
        assert "a tick failed" in caplog.text
    finally:
        loop.stop()
