"""Slack over the real sampler while its sources fail, clocks jump, and containers come and go."""

from __future__ import annotations

import gc
import itertools
import subprocess
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from serenity.estimator.slack.formula import Slack
from serenity.estimator.slack.pipeline import SlackPipeline, SlackStages
from serenity.estimator.ticks import Ticks
from serenity.qos import pipeline
from serenity.qos.sources import sampler
from serenity.qos.sources.agent_perf import AgentPerf
from serenity.qos.sources.counters import Counters
from serenity.qos.sources.node_usage import NodeUsage
from serenity.qos.sources.resctrl import Resctrl
from serenity.qos.sources.roster import Roster, asking_interval_s
from serenity.qos.sources.run_delay import RunDelay
from serenity.qos.sources.sampler import Sampler
from serenity.qos.sources.usage import Usage
from serenity.wire.mesos.state import AgentIdentity, AgentLook, Container
from tests.manual_clock import ManualClock

MIB = 1 << 20
SOURCES = (Usage, RunDelay, NodeUsage, AgentPerf, Counters, Resctrl)


def container(name: str, pid: int | None) -> Container:
    return Container(name, "F", "web", name, pid, cpus=2.0, mem_bytes=1024 * MIB)


PIPELINE = """
[[slack.filters]]
name = "pr_executor_pass"
[slack.predictor]
name = "peak"
min_age_s = 5.0
"""


class Node:
    """A node whose agent says what the test wants, its sampler, and a slack pipeline."""

    def __init__(self, folder: Path, interval_s: float = 1.0) -> None:
        file = folder / "pipeline.toml"
        file.write_text(PIPELINE)
        self.clock = ManualClock(1e9)
        self.containers: tuple[Container, ...] = ()
        self.requests = 0
        self.look_takes_s = 0.0
        self._ask_at_s = 0.0
        self._asking_interval_s = asking_interval_s(interval_s)
        self._roster = Roster(self, self.clock, self._asking_interval_s)  # type: ignore[arg-type]  # Of a reader it uses what is here.
        self.sampler = Sampler(self._roster, self.clock, of_node=True)
        self._ticks = Ticks(self.clock, interval_s)
        self._pipeline = SlackPipeline(SlackStages.from_file(pipeline.read(file)))

    def look(self, before: Collection[Container]) -> AgentLook:
        self._asked()
        return AgentLook(AgentIdentity("a", "h7", "1.11.0", 256.0, 1 << 38), self.containers)

    def with_processes(self, containers: Collection[Container]) -> tuple[Container, ...]:
        self._asked()
        return tuple(containers)

    def _asked(self) -> None:
        self.requests += 1
        self.clock.advance(self.look_takes_s)

    def step(self) -> Slack:
        """One tick of the sampler, and what the roster's thread has done until then."""
        tick_at_s = self.clock.monotonic_s() + self._ticks.wait_s()
        while self._ask_at_s <= tick_at_s:
            self.clock.advance(max(0.0, self._ask_at_s - self.clock.monotonic_s()))
            self._roster.ask()
            self._ask_at_s = self.clock.monotonic_s() + self._asking_interval_s
        self.clock.advance(max(0.0, tick_at_s - self.clock.monotonic_s()))
        return self._pipeline.step(self.sampler.sample(self._ticks.now_s()))


@pytest.fixture(scope="module")
def process() -> Iterator[int]:
    """One that uses no CPU: the clock here is the test's own, so any CPU time is of a moment that has no length."""
    with subprocess.Popen(["sleep", "infinity"]) as sleeping:
        yield sleeping.pid
        sleeping.kill()


@pytest.fixture(autouse=True)
def no_resctrl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """That of the machine is not for tests to make groups in."""
    monkeypatch.setattr(sampler, "Resctrl", partial(Resctrl, root=tmp_path / "resctrl"))


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.sampler.close()


def run(node: Node, seconds: int) -> Slack:
    for _ in range(seconds):
        found = node.step()
    return found


@pytest.mark.parametrize("source", SOURCES)
def test_a_source_that_fails_never_raises_the_slack(
    node: Node, process: int, monkeypatch: pytest.MonkeyPatch, source: type[Any]
) -> None:
    node.containers = (container("web", process),)
    well = run(node, 15)
    assert well.fresh and well.mem_bytes > 0

    def fail(self: object, draft: object) -> None:
        raise OSError("the disk under /proc is on fire")

    monkeypatch.setattr(source, "read", fail)
    ill = run(node, 15)
    assert node.sampler.faults[source.__name__] == 15
    assert ill.fresh == (source is not NodeUsage)
    assert ill.cpus <= well.cpus + 0.01 and ill.mem_bytes <= well.mem_bytes + MIB
    # Nor is best-effort killed for it: what it holds of the slack that there was is not too much.
    assert not ill.fresh or (ill.at_most_cpus >= well.cpus - 0.1 and ill.at_most_mem_bytes >= well.mem_bytes - MIB)
    if source is NodeUsage:
        assert "the machine's memory cannot be read" in ill.why
    if source is Usage:
        assert (ill.cpus, ill.mem_bytes) == (0.0, 0.0)
        assert "cpus: 1 of 1 production containers count at their allocation" in ill.why
    monkeypatch.undo()
    again = run(node, 15)
    assert again.mem_bytes > 0 and node.sampler.faults[source.__name__] == 15


@pytest.mark.parametrize("interval_s", [0.1, 1.0, 2.0, 10.0, 60.0])
@pytest.mark.parametrize("launching", [False, True])
def test_the_agents_word_is_fresh_at_every_tick_however_rare_these_are(
    tmp_path: Path, process: int, interval_s: float, launching: bool
) -> None:
    node = Node(tmp_path, interval_s)
    web = container("web", process)
    # Of what is still being launched the process is asked for again and again.
    node.containers = (replace(web, pid=None) if launching else web,)
    node.look_takes_s = 0.015
    found = [node.step() for _ in range(12)]
    elapsed_s = node.clock.monotonic_s()
    node.sampler.close()
    stale = [why for each in found for why in each.why if "agent" in why]
    assert stale == []
    assert node.requests <= elapsed_s + 1, "one request a second at most"
    assert all(each.fresh for each in found)


@pytest.mark.parametrize("by_s", [3600.0, -3600.0])
def test_a_clock_that_is_set_changes_no_slack(node: Node, process: int, by_s: float) -> None:
    node.containers = (container("web", process),)
    before = run(node, 15)
    node.clock.jump(by_s)
    after = run(node, 15)
    assert after.fresh and after.mem_bytes == pytest.approx(before.mem_bytes, abs=MIB) and after.mem_bytes > 0


def test_ten_thousand_containers_come_and_go_and_leave_nothing(node: Node, process: int) -> None:
    names = map("container-{}".format, itertools.count())
    alive: list[int] = []
    for at in range(100):
        # One of them with a process, the others still being launched.
        node.containers = tuple(container(next(names), None if i else process) for i in range(100))
        node.step()
        if at in (30, 99):
            node.containers = ()
            run(node, 2)  # The first may be asked for processes.
            gc.collect()
            alive.append(len(gc.get_objects()))
    assert next(names) == "container-10000"
    assert alive[1] <= alive[0] + 500
