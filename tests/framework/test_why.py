"""Why a job is not running: each obstacle named, and what became of its attempts before."""

from __future__ import annotations

import pytest

from serenity.framework.jobs.why import ended_text, last_ends
from serenity.wire.messages.api import JobState
from serenity.wire.messages.constraints import Constraint
from tests.framework.life import Life, labelled


@pytest.fixture
def life(tmp_path):
    life = Life(tmp_path)
    life.subscribe()
    return life


def why(life, job, *words):
    lines = life.core.why(job)
    found = [line for line in lines if all(each in line for each in words)]
    assert found, lines
    return found[0]


def ends(life, job):
    return last_ends(life.store.last_ended(job, 20), life.clock.now_s())


def test_no_slack_anywhere_and_the_largest_that_was_seen(life):
    job = life.submit()
    assert "no agent offers slack" in why(life, job, "estimator")
    life.offer("S0", cpus=0.3)
    life.offer("S1", cpus=0.2)
    life.round()
    life.clock.advance(5)
    assert why(life, job, "largest") == "the largest slack offered last was 0.3 cpus and 4G on host-S0, 5.0s ago"
    life.core.executor_ended("S0", None)
    assert "0.2 cpus" in why(life, job, "largest"), "of an agent that is gone nothing is remembered"


@pytest.mark.parametrize(("more", "said"), [(1, "1 more instance is"), (5, "5 more instances are")])
def test_of_many_instances_the_first_are_named_and_the_others_counted(life, more, said):
    job = life.submit(instances=10 + more, cpus=0.1)
    life.offer()
    life.round()
    lines = life.core.why(job)
    assert len(lines) == 11 and lines[0].startswith("instance 0 is launching")
    assert lines[-1] == f"and {said} launching, running, ending or unreachable"


def test_a_constraint_that_no_agent_satisfies_and_what_they_have_instead(life):
    wants = Constraint.parse("rack == r9"), Constraint.parse("os != windows")
    job = life.submit(constraints=wants)
    for agent, rack in (("S0", "r1"), ("S1", "r1"), ("S2", "r2"), ("S3", None)):
        attributes = [{"name": "rack", "type": "TEXT", "text": {"value": rack}}] if rack else []
        life.offer(agent, attributes=attributes)
    life.round()
    expected = "no agent satisfies rack == r9: rack is r1 on 2 agents, r2 on 1 agent, not set on 1 agent"
    assert why(life, job, "no agent satisfies") == expected
    both = life.submit(constraints=(Constraint.parse("rack == r2"), Constraint.parse("hostname == host-S0")))
    assert why(life, both, "all of") == "no agent satisfies all of rack == r2; hostname == host-S0"
    fits = life.submit(constraints=(Constraint.parse("rack == r2"),))
    assert not any("no agent satisfies" in line for line in life.core.why(fits))


def test_agents_that_cool_down_and_a_backoff(life):
    task = life.launch()
    job = task.split(".")[0]
    life.update(task, "TASK_KILLED", **labelled("QOS_CPU"))
    assert why(life, job, "backing off").startswith("1 instance is backing off; the first for another 1")
    assert why(life, job, "avoided") == "host-S0 is avoided for another 5m00s"
    assert ends(life, job)[0].startswith("its last attempt ended 0.0s ago on host-S0: QOS_CPU: production on the agent")
    assert ends(life, job)[1] == "of that instance 1 attempt ended for free so far, and 0 at its own cost"


def test_a_job_that_is_refused_again_and_again_says_for_what_reason_also_after_a_restart(life):
    task = life.launch()
    job = task.split(".")[0]
    for number in range(1, 4):
        refused = labelled("LAUNCH_REFUSED") | {"message": "the job names no user, and the executor is root"}
        life.update(f"{job}.0.{number}", "TASK_FAILED", uuid=f"u{number}", **refused)
        life.clock.advance(70)
        life.round()
        life.offer()
        life.round()
    life.update(f"{job}.0.4", "TASK_FAILED", uuid="u4", **refused)
    life.restart()
    assert "LAUNCH_REFUSED: the job names no user, and the executor is root" in ends(life, job)[0]
    assert "4 attempts ended for free so far" in ends(life, job)[1]


def test_who_is_over_his_share_is_told_who_comes_first(life):
    life.submit(user="rich", cpus=3.0)
    life.offer(cpus=3.2)
    life.round()
    rich = life.submit(user="rich", cpus=2.0)
    life.submit(user="poor", cpus=2.0)
    life.submit(priority=3, cpus=2.0)
    life.offer("S1", cpus=1.0)
    life.round()
    expected = "over its share: rich holds 100% of what best-effort has; poor, with 0%, waits and comes first"
    assert why(life, rich, "share") == expected
    assert why(life, rich, "priority") == "1 job of a higher priority waits for slack, too"
    later = life.submit(user="rich", cpus=2.0)
    assert why(life, later, "before it") == "1 job of the same user and priority came before it"


def test_a_job_that_flaps_is_told_so(life):
    job = life.submit(max_retries=1000)
    for number in range(1, 11):
        life.offer()
        life.round()
        life.update(f"{job}.0.{number}", "TASK_FAILED", uuid=f"u{number}", **labelled("COMMAND_FAILED"))
        life.clock.advance(400)
        life.round()
    assert why(life, job, "its last 10 attempts ended badly") != ""


@pytest.mark.parametrize(
    ("state", "text"),
    [(JobState.FINISHED, "it has finished"), (JobState.FAILED, "it has failed"), (JobState.KILLED, "it was killed")],
)
def test_of_a_job_that_has_ended_it_says_how(state, text):
    assert ended_text(state) == text
