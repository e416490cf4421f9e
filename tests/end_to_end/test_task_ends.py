"""How tasks end that do not end by themselves, and how all of it ends: nothing is left of any of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import KINDS_AND_CGROUPS
from tests.end_to_end.left_over import RUNS
from tests.end_to_end.running import Running, running_stack
from tests.end_to_end.witness import Witness

# Has a child in the shell's session and one that has left it; neither goes by itself.
FAMILY = (
    "setsid sh -c 'trap \"\" TERM; echo $$ >> {pids}; while :; do sleep 0.1; done' & sleep 1000 & echo $! >> {pids}"
)


@pytest.fixture(scope="module", params=KINDS_AND_CGROUPS)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    # A grace that no load of the machine uses up: when it ends Mesos kills everything, our own cleaning up included.
    flags = {"executor_shutdown_grace_period": "30secs"}
    with running_stack(request.param, agent_flags=flags, SERENITY_EXECUTOR_TASK_OUTPUT="32K") as stack:
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


def test_who_takes_more_memory_than_it_asked_for_fails_and_says_so(running: Running) -> None:
    greedy = "import time; b = bytearray(120 << 20); time.sleep(60)"
    job = running.run(sys.executable, "-S", "-c", greedy, max_retries=0)
    running.wait_for(job, "failed")
    (attempt,) = running.attempts(job)
    assert attempt["reason"] == "MEMORY_LIMIT" and attempt["record"]["detail"]
    assert attempt["measured"]["signal"] == 9 and attempt["measured"]["peak_mem_bytes"] >= 30 << 20
    assert "MEMORY_LIMIT" in running.serenity("show", job).stdout


def test_an_output_beyond_its_limit_is_cut_and_followed_all_the_same(running: Running) -> None:
    lines = "for i in $(seq 0 500 11500); do seq -f %07.0f $i $((i + 499)); sleep 0.1; done"
    job = running.run("sh", "-c", f"{lines}; sleep 1.5", name="talkative")
    running.wait_for_running(job)
    followed = [int(each) for each in running.serenity("logs", "-f", job).stdout.split()]
    assert followed == sorted(set(followed)) and followed[-1] == 11_999  # Who is too slow misses some, no more.
    assert running.serenity("logs", "-n", "2", job).stdout == "0011998\n0011999\n"
    (folder,) = {each.resolve() for each in running.work_dir.glob(f"{RUNS}/*/tasks/{job}.0.1")}
    assert len(list(folder.glob("stdout.*"))) == 1
    assert sum(each.stat().st_size for each in folder.glob("stdout*")) <= 80 << 10


@pytest.mark.slow
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
