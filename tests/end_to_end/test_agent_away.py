"""The agent is restarted, given up by Mesos, or gone for good: what becomes of its tasks is learnt, and learnt once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import KINDS_AND_CGROUPS
from tests.end_to_end.running import CPUS, Running, running_stack
from tests.end_to_end.witness import Witness
from tests.polling import eventually

pytestmark = pytest.mark.slow

# An agent that does not answer for five seconds is unreachable.
PATIENCE = {"agent_ping_timeout": "1secs", "max_agent_ping_timeouts": "5"}


@pytest.fixture(scope="module", params=KINDS_AND_CGROUPS)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running_stack(request.param, agent_is_lost=True, master_flags=PATIENCE) as stack:
        yield stack


def test_tasks_survive_a_restart_of_the_agent_and_are_heard_of_afterwards(running: Running, tmp_path: Path) -> None:
    lives, ends = Witness(tmp_path, "lives"), Witness(tmp_path, "ends")
    living = running.run(*lives.until_told(7), max_retries=0)
    ending = running.run(*ends.until_told(3), max_retries=0)
    for job, each in ((living, lives), (ending, ends)):
        running.wait_for_running(job)
        each.wait()
    executors, before = running.executors(), running.slack()

    running.mesos.kill_agent()
    ends.tell()
    eventually(lambda: ends.alive == [], "an end while the agent is away")
    running.mesos.start_agent()

    running.wait_for(ending, "failed")
    assert running.executors() == executors
    assert lives.alive == lives.started, "another process"
    assert running.state(living) == "running"
    lives.tell()
    running.wait_for(living, "failed")
    for job, code in ((ending, 3), (living, 7)):
        (attempt,) = running.attempts(job)
        assert (attempt["reason"], attempt["message"]) == ("COMMAND_FAILED", f"exited with {code}")
        assert running.history(job) == {f"{job}.0.1": ["launching", "running", "failed"]}
    slack_is_back(running, before)


def test_an_agent_that_was_given_up_and_returns_has_its_tasks_still_and_none_runs_twice(
    running: Running, tmp_path: Path
) -> None:
    lives, ends, unwanted = (Witness(tmp_path, name) for name in ("lives", "ends", "unwanted"))
    living = running.run(*lives.until_told())
    ending = running.run(*ends.until_told())
    killed = running.run(*unwanted.command("exec sleep 1000"))
    jobs = living, ending, killed
    for job, each in zip(jobs, (lives, ends, unwanted), strict=True):
        running.wait_for_running(job)
        each.wait()
    before = running.slack()

    running.mesos.lose_agent()
    for job in jobs:
        eventually(lambda job=job: running.attempts(job, "unreachable"), f"{job} unreachable")
    ends.tell()
    running.kill(killed)
    assert {running.state(job) for job in (living, ending)} == {"running"}, "run again, although it may run still"
    running.mesos.start_agent()

    running.wait_for_running(living)
    running.wait_for(ending, "finished")
    running.wait_for(killed, "killed")
    lives.tell()
    running.wait_for(living, "finished")
    for job in jobs:
        assert len(running.attempts(job)) == 1
    assert [len(each.started) for each in (lives, ends, unwanted)] == [1, 1, 1]
    assert unwanted.alive == []
    slack_is_back(running, before)


def test_an_executor_that_dies_while_the_agent_is_away_takes_its_tasks_with_it(
    running: Running, tmp_path: Path
) -> None:
    witness = Witness(tmp_path)
    job = running.run(*witness.command("setsid sleep 1000 & sleep 1000"), max_retries=0)
    running.wait_for_running(job)
    witness.wait()
    (executor,) = running.executors()

    running.mesos.kill_agent()
    executor.kill()
    eventually(lambda: witness.alive == [], "the end of the task with its executor")
    running.mesos.start_agent()

    (lost,) = eventually(lambda: running.attempts(job, "lost"), "the agent's word of it")
    assert (lost["reason"], lost["retry"]["charged"]) == ("EXECUTOR_LOST", False)
    running.end(job)
    assert len(witness.started) == 1


def test_an_agent_that_an_operator_marks_gone_is_waited_for_no_longer(running: Running, tmp_path: Path) -> None:
    """The last of this file: it does not come back."""
    witness = Witness(tmp_path)
    job = running.run(*witness.command("exec sleep 1000"), max_retries=0)
    running.wait_for_running(job)
    witness.wait()
    running.mesos.mark_agent_gone()
    (lost,) = eventually(lambda: running.attempts(job, "lost"), "Mesos' word of it")
    assert (lost["reason"], lost["retry"]["charged"]) == ("AGENT_LOST", False)
    eventually(lambda: witness.alive == [], "the end of the task with its agent")
    running.end(job)


def slack_is_back(running: Running, before: dict[str, object]) -> None:
    """Under its old id, and no more than there was: by another id it would be there twice."""
    eventually(lambda: running.slack_cpus() > 0.5, "the slack's return")
    now = eventually(lambda: seen if (seen := running.slack()).get("subscribed") else {}, "the subscription")
    assert now["provider_id"] == before["provider_id"]
    assert running.slack_cpus() < CPUS, "slack of two providers"
