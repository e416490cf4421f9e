"""The framework is killed with -9 where what is stored and what others know may differ: no job is lost or doubled."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from serenity.framework.crash_points import CrashPoint, when_passing
from serenity.localmesos.cluster.cluster import Cluster
from serenity.wire.transport.http import Unreachable
from tests.framework.conftest import Slack
from tests.framework.forked import ForkedFramework
from tests.framework.zygote import Zygote
from tests.fuzz.kernel import WORKS
from tests.fuzz.steps import Calm, Exit, Kill, Schedule, Submit, play
from tests.fuzz.world import World

# A life with everything in it: launches, a failure with its retry, a kill.
LIFE: Schedule = (
    *(Calm(1), Submit(WORKS, 1, 1, 0.5), Calm(1), Exit(0, 1), Calm(1)),
    *(Submit(WORKS, 1, 0, 0.5), Calm(1), Kill(-1), Calm(1)),
)


@pytest.fixture(autouse=True)
def _nothing_deadly_is_left() -> Iterator[None]:
    yield
    when_passing(None)


def lived(dying_at: int | None) -> tuple[World, list[CrashPoint]]:
    """The life at rest, and the points that it passed; it died when it passed that many."""
    passed: list[CrashPoint] = []
    world = World()

    def pass_by(point: CrashPoint) -> None:
        passed.append(point)
        if len(passed) == dying_at:
            world.die_here()

    when_passing(pass_by)
    play(LIFE, world=world)
    return world, passed


def test_a_life_passes_every_point() -> None:
    _, passed = lived(None)
    assert set(passed) == set(CrashPoint)


def test_whichever_point_it_dies_at_each_time_it_is_passed() -> None:
    _, passed = lived(None)
    for number in eventful(passed):
        point = passed[number - 1]
        try:
            truth = lived(dying_at=number)[0].truth
        except AssertionError as error:
            error.add_note(f"it was killed at {point!r}, the {number}th point that it passed")
            raise
        assert [*truth.left_over(), *truth.mistakes()] == [], f"killed at {point!r}, the {number}th"


def eventful(passed: list[CrashPoint]) -> Iterator[int]:
    """The numbers, from 1, of those that are not of a round in which nothing was stored."""
    stored = False
    for number, point in enumerate(passed, start=1):
        if point is CrashPoint.DECIDED:
            stored = number < len(passed) and passed[number] is CrashPoint.WRITTEN
        if stored or point not in (CrashPoint.DECIDED, CrashPoint.ANSWERED, CrashPoint.QUEUED):
            yield number


# -- the real process, SQLite and Mesos -----------------------------------------------------------


@pytest.mark.parametrize("cluster", ["localmesos"], indirect=True)
def test_a_real_process_killed_at_each_point_in_turn(cluster: Cluster, zygote: Zygote, tmp_path: Path) -> None:
    role, started = f"be-{tmp_path.parent.name}-{tmp_path.name}", tmp_path / "started"
    provider = Slack(cluster.agent, role)
    framework = ForkedFramework(zygote, tmp_path, cluster.master, role)
    try:
        framework.start()
        jobs = {point: dying_at(framework, point, started) for point in CrashPoint}
        killed = {
            point for point, job in jobs.items() if framework.wait_for(job, "finished", "killed")["state"] == "killed"
        }
        assert killed == {CrashPoint.KILLING, CrashPoint.KILLED}
        assert sorted(started.read_text().split()) == sorted(point.name for point in CrashPoint)
    finally:
        framework.stop()
        provider.stop()


def dying_at(framework: ForkedFramework, point: CrashPoint, started: Path) -> str:
    """The job with which it passed the point, and died."""
    to_be_killed = point in (CrashPoint.KILLING, CrashPoint.KILLED)
    command = ("sh", "-c", f"echo {point.name} >> {started}; exec sleep {60 if to_be_killed else 0.2}")
    if to_be_killed:
        job = framework.submit(*command)
        framework.wait_for(job, "running")
        framework.die_at(point)
        with contextlib.suppress(Unreachable):
            framework.request("POST", f"/v1/jobs/{job}/kill", {}, status=202)
        framework.live_again()
        return job
    framework.die_at(point)
    with contextlib.suppress(Unreachable):
        framework.submit(*command, id=point.name)
    framework.live_again()
    return framework.submit(*command, id=point.name)  # The same again, if it was stored.
