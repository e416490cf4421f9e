"""A few sequences, always the same, and whether those who judge them would notice."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clusters import KINDS
from tests.polling import eventually
from tests.survival.sequence import What, draw
from tests.survival.stack import play_on_one_stack
from tests.survival.tasks import Job, Traces, Way

SEED = 5
# In these nearly everything happens.
NUMBERS = (40, 59)
HAPPEN = set(What) - {What.CUT, What.DROP_STREAMS}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_no_task_is_lost_doubled_or_orphaned(kind: str) -> None:
    sequences = [draw(SEED, number) for number in NUMBERS]
    assert {event.what for each in sequences for event in each.events} >= HAPPEN
    for played in play_on_one_stack(kind, sequences):
        assert played.mistakes == (), played.sequence


def test_a_seed_draws_the_same_again_and_another_does_not() -> None:
    assert draw(1, 2) == draw(1, 2)
    assert draw(1, 2).events != draw(2, 2).events != draw(2, 1).events


Run = Callable[[Job, str], subprocess.Popen[bytes]]


@pytest.fixture
def traces(tmp_path: Path) -> Traces:
    return Traces(tmp_path / "traces")


@pytest.fixture
def run(traces: Traces) -> Iterator[Run]:
    """A task, as an executor would run it, of a session of its own."""
    started: list[subprocess.Popen[bytes]] = []

    def start(job: Job, task: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "SERENITY_TASK": task}
        started.append(subprocess.Popen(job.command(traces.folder), env=environment, start_new_session=True))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()


def test_two_attempts_at_once_are_noticed(traces: Traces, run: Run) -> None:
    job = Job("j", 0.0, Way.LIVING)
    run(job, "j.0.1")
    eventually(lambda: traces.of("started"), "the first attempt")
    assert run(job, "j.0.2").wait(10) == 99
    assert (traces.of("started"), traces.of("doubled")) == (["j.0.1"], ["j.0.2"])
    assert run(Job("j", 0.0, Way.SHORT, 0.1), "j.1.1").wait(10) == 0, "another instance"
    assert traces.alive() == {"j.0"}


def test_an_attempt_after_another_is_none_too_many(traces: Traces, run: Run) -> None:
    job = Job("j", 0.0, Way.SHORT, 0.1, code=3)
    assert run(job, "j.0.1").wait(10) == 3
    assert run(job, "j.0.2").wait(10) == 3
    assert traces.of("doubled") == [] and traces.of("ended") == ["j.0.1", "j.0.2"]
    assert traces.alive() == set()


def test_who_has_left_the_session_and_lost_its_parent_is_seen_to_live(traces: Traces, run: Run) -> None:
    job = Job("j", 0.0, Way.FAMILY)
    leader = run(job, "j.0.1")
    eventually(lambda: traces.of("started"), "the task")
    traces.tell()
    assert leader.wait(10) == 0
    assert traces.alive() == {"j.0"}
    relatives = _holders(traces.folder / "j.0.lock")
    assert len(relatives) >= 2
    for pid in relatives:
        os.kill(pid, 9)
    eventually(lambda: traces.alive() == set(), "their end")


def _holders(lock: Path) -> set[int]:
    """Processes that have it open."""
    found = set()
    for each in Path("/proc").glob("[0-9]*/fd/9"):
        try:
            if each.readlink() == lock:
                found.add(int(each.parent.parent.name))
        except OSError:
            continue  # It has ended, or is another user's.
    return found
