"""Slack that is withdrawn, by the valve or because the estimator is gone: what runs goes on, what waits runs later."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import KINDS
from tests.end_to_end.line import Held
from tests.end_to_end.running import CPUS, Running, running_stack
from tests.end_to_end.valve import Valve
from tests.end_to_end.witness import Witness
from tests.polling import eventually


@pytest.fixture(scope="module", params=KINDS)
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running_stack(request.param, lined=True) as stack:
        yield stack


@pytest.fixture
def valve(running: Running) -> Iterator[Valve]:
    with Valve(running.slack()["agent_id"], running.stack.options.run_dir) as valve:
        yield valve


def test_an_offer_that_is_rescinded_before_it_is_used_is_not_used(running: Running, valve: Valve) -> None:
    job = submitted_to_a_closed_valve(running, valve)
    with running.lines.scheduler.held_back() as events:
        offer_and_rescind(valve, events)
        # Both come at once now, as to a framework that was busy.
    eventually(lambda: not running.offered_cpus(), "no offer")
    assert [each["state"] for each in running.attempts(job)] == ["pending"]
    valve.open()
    running.wait_for(job, "finished")
    assert len(running.attempts(job)) == 1


def test_a_launch_on_a_rescinded_offer_is_run_again_for_free(running: Running, valve: Valve) -> None:
    job = submitted_to_a_closed_valve(running, valve)
    with running.lines.scheduler.held_back() as events:
        events.deliver(offer_and_rescind(valve, events))  # The framework does not know yet that it has ended.
        eventually(lambda: b'"REASON_INVALID_OFFERS"' in events, "Mesos' refusal of the launch")
    (refused,) = eventually(lambda: running.attempts(job, "lost"), "the refused launch")
    assert (refused["reason"], refused["retry"]["charged"]) == ("LAUNCH_REFUSED", False)
    assert refused["retry"]["avoid"] == [], "the agent has done nothing wrong"
    valve.open()
    running.wait_for(job, "finished")
    assert [each["state"] for each in running.attempts(job)] == ["lost", "finished"]


def submitted_to_a_closed_valve(running: Running, valve: Valve) -> str:
    """A job that waits for slack, of which none is offered, and that may not fail once."""
    valve.close()
    # An executor without tasks holds 0.1; what an ended task held is given back with the estimator's next look.
    eventually(lambda: running.slack_cpus() <= 0.1 and not running.offered_cpus(), "the end of the slack")
    return running.run("true", max_retries=0)


def offer_and_rescind(valve: Valve, events: Held) -> int:
    """Has the slack offered, then the offer rescinded; returns where the first ends and the second begins."""
    valve.open()
    eventually(lambda: b'"revocable"' in events, "an offer of slack")
    end = len(events)
    valve.close()
    eventually(lambda: b'"RESCIND"' in events, "its end")
    return end


def test_a_publish_that_is_answered_late_delays_its_launch_and_hurts_nobody(running: Running, tmp_path: Path) -> None:
    before, after = Witness(tmp_path, "before"), Witness(tmp_path, "after")
    first = running.run(*before.until_told())
    running.wait_for_running(first)
    before.wait()
    executors = running.executors()

    running.signal("estimator", signal.SIGSTOP)
    try:
        second = running.run(*after.until_told(), max_retries=0)
        eventually(lambda: running.attempts(second, "launching"), "the launch")
        until_s = time.monotonic() + 1.5
        while time.monotonic() < until_s:
            assert running.attempts(second, "launching") and not after.started, "nobody has published for it"
            time.sleep(0.1)
    finally:
        running.signal("estimator", signal.SIGCONT)
    running.wait_for_running(second)
    after.wait()
    assert running.executors() == executors
    assert before.alive == before.started and len(before.started) == 1
    for each in (before, after):
        each.tell()
    for job in (first, second):
        running.wait_for(job, "finished")
        assert running.history(job) == {f"{job}.0.1": ["launching", "running", "finished"]}


def test_the_estimator_is_killed_and_the_slack_goes_and_returns(running: Running, tmp_path: Path) -> None:
    witness = Witness(tmp_path)
    job = running.run(*witness.until_told())
    running.wait_for_running(job)
    witness.wait()
    before = running.slack()

    running.signal("estimator", signal.SIGKILL)
    eventually(lambda: running.slack_cpus() == 0, "the slack's end", 10.0)
    declined = running.calls("decline")
    waiting = running.run("true")
    eventually(lambda: running.calls("decline") > declined, "an offer of what is no slack")
    assert running.offered_cpus() == 0 and running.state(waiting) == "pending"
    assert witness.alive == witness.started, "a running task was hurt"
    running.start("estimator")

    running.wait_for(waiting, "finished")
    now = running.slack()
    assert now["provider_id"] == before["provider_id"]
    assert running.slack_cpus() < CPUS, "slack of two providers"
    witness.tell()
    running.wait_for(job, "finished")
    assert len(running.attempts(job)) == len(running.attempts(waiting)) == 1
