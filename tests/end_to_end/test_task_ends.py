"""How tasks end that do not end by themselves, and how all of it ends: nothing is left of any of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import KINDS_AND_CGROUPS
from tests.end_to_end.running import Running, running_stack
from tests.end_to_end.witness import Witness

# Has a child in the shell's session and one that has left it; neither goes by itself.
FAMILY = (
    "setsid sh -c 'trap \"\" TERM; echo $$ >> {pids}; while :; do sleep 0.1; done' & sleep 1000 & echo $! >> {pids}"
)


@pytest.fixture(scope="module", params=KINDS_AND_CGROUPS)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    # A grace that no load of the machine uses up: when it ends Mesos kills everything, our own cleaning up included.
    with running_stack(request.param, agent_flags={"executor_shutdown_grace_period": "30secs"}) as stack:
        yield stack


def test_a_kill_leaves_a_task_its_grace_and_then_takes_all_of_it(running: Running, tmp_path: Path) -> None:
    polite, stubborn = Witness(tmp_path, "polite"), Witness(tmp_path, "stubborn")
    says_goodbye = "trap 'sleep 0.5; echo goodbye; exit 0' TERM; while :; do sleep 0.1; done"
    first = running.run(*polite.command(says_goodbye), name="polite", grace_s=20.0)
    family = FAMILY.format(pids=stubborn.starts)
    second = running.run(*stubborn.command(f"trap '' TERM; {family}; while :; do sleep 0.1; done"), grace_s=1.0)
    polite.wait()
    stubborn.wait(3)

    running.end(first, second)
    assert polite.alive == stubborn.alive == []
    assert running.serenity("logs", "polite").stdout == "goodbye\n"
    (asked,), (forced,) = running.attempts(first), running.attempts(second)
    assert [each["reason"] for each in (asked, forced)] == ["KILLED_BY_USER"] * 2
    assert (asked["record"]["graceful"], asked["record"]["exit"]["code"]) == (True, 0)
    assert (forced["record"]["graceful"], forced["record"]["exit"]["signal"]) == (False, 9)
    assert forced["ended_at"] - running.job(second)["kill_requested_at"] >= 1.0
    assert asked["ended_at"] - running.job(first)["kill_requested_at"] < 10.0, "its grace was waited for in full"


def test_a_killed_executor_takes_its_tasks_with_it_and_they_run_again(running: Running, tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    job = running.run(*witness.command("exec sleep 1000"), max_retries=0)
    witness.wait()
    (executor,) = running.executors()
    executor.kill()
    witness.wait(2)
    assert witness.alive == witness.started[1:], "the first attempt still ran when the second began"
    first, _ = running.attempts(job)
    assert (first["reason"], first["retry"]["charged"]) == ("EXECUTOR_LOST", False)
    running.wait_for_running(job)
    running.end(job)
    assert witness.alive == []


def test_the_end_of_all_leaves_nothing(running: Running, tmp_path: Path) -> None:
    """The last of this file: everything is stopped while tasks run that do not go by themselves."""
    witness = Witness(tmp_path)
    stubborn = f"trap '' TERM; {FAMILY.format(pids=witness.starts)}; while :; do sleep 0.1; done"
    running.run(*witness.command(stubborn), grace_s=1.0)
    witness.wait(3)
    assert len(witness.alive) == 3 and running.executors() != []
    assert running.stop() == []
    assert witness.alive == []
