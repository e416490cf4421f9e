"""A session over the real sampler, with a clock and an agent's word that the test says; the agent itself is away."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from serenity.estimator import metrics
from serenity.estimator.session import Session
from serenity.estimator.settings import EstimatorSettings
from serenity.estimator.slack.pipeline import SlackStages
from serenity.qos import pipeline
from serenity.qos.sources.roster import Look
from serenity.wire.mesos.state import AgentIdentity, Container
from serenity.wire.transport.access import ANONYMOUS
from tests.manual_clock import ManualClock

AGENT = AgentIdentity("agent-1", "h7", "1.11.0", 8.0, 1 << 33)
# Nobody has thought of an int that no float has room for: a reader refuses it.
UNFORESEEN = Container("c", "F", "web", "c", os.getpid(), cpus=2.0, mem_bytes=10**330)
SOUND = replace(UNFORESEEN, mem_bytes=1 << 30)


class Word:
    """A roster whose word is the test's, and is never old."""

    failures = 0

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.containers: tuple[Container, ...] = (SOUND,)

    @property
    def latest(self) -> Look:
        return Look(self._clock.monotonic_s(), AGENT, self.containers)


class Life:
    """Runs a session; `ticks` has what happens before each, and the last one ends it."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(1e9)
        self.word = Word(self.clock)
        self.metrics = metrics.table()
        settings = EstimatorSettings(agent="127.0.0.1:1", run_dir=str(folder / "r"), state_dir=str(folder / "s"))
        self.session = Session(
            settings,
            ANONYMOUS,
            SlackStages.from_file(pipeline.read()),
            self.word,  # type: ignore[arg-type]
            AGENT,
            self.clock,
            self.metrics,
        )
        self._ticks: list[Callable[[], None]] = []

    def wait(self, timeout_s: float) -> bool:
        """As the event that stops a session: it goes on to the next tick."""
        self.clock.advance(timeout_s)
        if self._ticks:
            self._ticks.pop(0)()
        else:
            return True
        return False

    def run(self, *ticks: Callable[[], None]) -> None:
        self._ticks = list(ticks)
        self.session.run(self)  # type: ignore[arg-type]

    def says(self, *containers: Container) -> Callable[[], None]:
        def say() -> None:
            self.word.containers = containers

        return say


def test_what_nobody_has_foreseen_in_a_tick_is_no_new_slack_and_no_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    life, seen = Life(tmp_path), []

    def look() -> None:
        seen.append((life.session.slack_json(), life.session.ailments()))

    good, bad = life.says(SOUND), life.says(UNFORESEEN)
    life.run(good, bad, bad, lambda: (look(), good())[1], look, bad, good)
    (failed, ailing), (mended, _) = seen
    assert not failed["fresh"] and failed["overcommitment"].cpus == 0.0
    assert any("the last sample failed: OverflowError" in each for each in failed["why"])
    assert any("no new slack: the last sample failed" in each for each in ailing)
    assert mended["fresh"] and not any("failed" in each for each in mended["why"])
    assert life.metrics.value(metrics.FAILED_TICKS) == 3 and life.metrics.value(metrics.FRAMES) == 4
    assert [each.exc_info is not None for each in caplog.records if each.levelname == "ERROR"] == [True, True]


def test_ticks_that_fail_for_long_end_the_process_which_is_free_of_them_then(tmp_path: Path) -> None:
    life = Life(tmp_path)
    life.word.containers = (UNFORESEEN,)
    with pytest.raises(RuntimeError, match="10 samples in a row have failed"):
        life.run(*[life.says(UNFORESEEN)] * 50)
    assert life.metrics.value(metrics.FAILED_TICKS) == 10
    assert [each.name for each in (tmp_path / "r").iterdir()] == [], "the socket and its lock"
    Life(tmp_path).run()  # And nothing of it is in the way of the next.
