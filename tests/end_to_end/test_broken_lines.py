"""The network between us and Mesos breaks, in every place that hurts: nothing is lost, and nothing done twice.

What is not tested: a provider whose line breaks between a publish and its answer.  Mesos ends
the executor then, and nobody can help it (docs/mesos.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import KINDS
from tests.end_to_end.line import Line
from tests.end_to_end.running import CPUS, Running, running_stack
from tests.end_to_end.witness import Witness
from tests.polling import eventually

ONCE = ["launching", "running", "finished"]


@pytest.fixture(scope="module", params=KINDS)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running_stack(request.param, lined=True) as stack:
        yield stack


@pytest.fixture(params=["scheduler", "executor"])
def line(request: pytest.FixtureRequest, running: Running) -> Line:
    line: Line = getattr(running.lines, request.param)
    return line


def test_what_happens_while_mesos_is_unavailable_is_learnt_once(running: Running, line: Line, tmp_path: Path) -> None:
    """The stream is cut and 503 the answer to everything, while some tasks end, others go on, and one is submitted."""
    ends, lives, late = (Witness(tmp_path, name) for name in ("ends", "lives", "late"))
    ending = running.run(*ends.until_told(), instances=3)
    living = running.run(*lives.until_told())
    running.wait_for_running(ending, 3)
    running.wait_for_running(living)
    ends.wait(3)
    lives.wait()
    executors = running.executors()
    with line.down():
        ends.tell()
        submitted = running.run(*late.command("exit 0"), max_retries=0)
        eventually(lambda: ends.alive == [], "the tasks' ends")
        eventually(lambda: line.refused > 2, "attempts to come back")
        assert running.state(ending) == "running"
    running.wait_for(ending, "finished")
    running.wait_for(submitted, "finished")
    assert running.executors() == executors and lives.alive == lives.started
    lives.tell()
    running.wait_for(living, "finished")
    assert [len(each.started) for each in (ends, lives, late)] == [3, 1, 1]
    for job, instances in ((ending, 3), (living, 1)):
        assert running.history(job) == {f"{job}.{each}.1": ONCE for each in range(instances)}
    # What an agent sends to an executor that is not there is lost, and it says so when that is back.
    *lost, _ = running.attempts(submitted)
    assert [(each["reason"], each["retry"]["charged"]) for each in lost] in ([], [("LAUNCH_REFUSED", False)])


@pytest.mark.parametrize("arrives", [True, False], ids=["it arrived", "it did not"])
def test_a_launch_whose_answer_is_lost_runs_once(running: Running, tmp_path: Path, arrives: bool) -> None:
    """Nobody knows then whether it was made; to try again at once could make it twice."""
    witness = Witness(tmp_path)
    running.lines.scheduler.cut_at("ACCEPT", arrives=arrives)
    job = running.run(*witness.until_told(), max_retries=0)
    running.wait_for_running(job)
    assert running.lines.scheduler.broken
    witness.wait()
    witness.tell()
    running.wait_for(job, "finished")
    *lost, last = running.attempts(job)
    assert last["state"] == "finished"
    assert [(each["state"], each["reason"], each["retry"]["charged"]) for each in lost] == (
        [] if arrives else [("lost", "LOST", False)]
    )
    assert len(witness.started) == 1


@pytest.mark.parametrize("arrives", [True, False], ids=["it arrived", "it did not"])
def test_an_update_whose_answer_is_lost_is_heard_once(running: Running, tmp_path: Path, arrives: bool) -> None:
    witness = Witness(tmp_path)
    job = running.run(*witness.until_told(5), max_retries=0)
    running.wait_for_running(job)
    running.lines.executor.cut_at("UPDATE", arrives=arrives)
    witness.tell()
    running.wait_for(job, "failed")
    assert running.lines.executor.broken
    *refused, attempt = running.attempts(job)
    # After the last test's cut the offer that was used may have been withdrawn.
    assert [(each["reason"], each["retry"]["charged"]) for each in refused] in ([], [("LAUNCH_REFUSED", False)])
    assert attempt["message"] == "exited with 5"
    assert running.history(job)[f"{job}.0.{len(refused) + 1}"] == ["launching", "running", "failed"]


def test_without_the_provider_s_line_there_is_no_slack_and_with_it_no_more_than_before(
    running: Running, tmp_path: Path
) -> None:
    witness = Witness(tmp_path)
    job = running.run(*witness.until_told())
    running.wait_for_running(job)
    witness.wait()
    before, executors = running.slack(), running.executors()
    with running.lines.provider.down():
        eventually(lambda: running.slack_cpus() == 0, "the slack's end")
        late = running.run("true")
        eventually(lambda: running.lines.provider.refused > 2, "attempts to come back")
        assert running.state(late) == "pending"
    running.wait_for(late, "finished")
    now = running.slack()
    assert now["provider_id"] == before["provider_id"]
    assert running.slack_cpus() < CPUS, "slack of two providers"
    assert running.executors() == executors and witness.alive == witness.started
    witness.tell()
    running.wait_for(job, "finished")
    assert running.history(job) == {f"{job}.0.1": ONCE}
