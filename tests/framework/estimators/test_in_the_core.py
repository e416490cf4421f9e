"""The roll-out inside the core: beside jobs, in the store, and apart from both roles' offers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from serenity.framework.estimators.agent import AgentSeen
from serenity.framework.estimators.rollout import Aim, Plan
from serenity.framework.estimators.task import EstimatorTemplate
from serenity.framework.mesos.calls import Accept, Acknowledge, Decline, Kill, Suppress
from serenity.framework.mesos.whereabouts import DOUBT_S
from serenity.framework.service import Framework
from serenity.framework.settings import FrameworkSettings
from tests.framework.life import CONFIG, Life
from tests.manual_clock import ManualClock

ROLE = "serenity-estimator"
PLAN = Plan(Aim.ROLL_OUT, EstimatorTemplate("serenity estimator", role=ROLE), settle_s=60.0)


@pytest.fixture
def life(tmp_path):
    made = Life(tmp_path, replace(CONFIG, estimators=PLAN))
    begin(made)
    return made


def begin(life):
    life.subscribe()
    life.clock.advance(2.0)
    look(life)


def look(life):
    life.core.rollout.looked([AgentSeen("S0", "host-S0", True, False, 0.1, 256.0)], life.clock.monotonic_s())


def offer_room(life):
    fields = {"type": "SCALAR", "reservations": [{"type": "STATIC", "role": ROLE}]}
    life.offer(
        allocation_info={"role": ROLE},
        resources=[
            {"name": "cpus", "scalar": {"value": 0.1}, **fields},
            {"name": "mem", "scalar": {"value": 256.0}, **fields},
        ],
    )
    return life.round()


def launched(life):
    return [task["task_id"]["value"] for each in life.of_kind(Accept) for task in each.tasks]


def test_an_estimator_is_no_job_and_takes_no_part_of_the_slack(life):
    job = life.submit()
    done = offer_room(life)
    (task,) = launched(life)
    assert done.changes.estimators["S0"].task_id == task and not done.changes.attempts
    life.offer()
    life.round()
    assert launched(life) == [f"{job}.0.1"]
    life.update(task, "TASK_RUNNING")
    assert len(life.of_kind(Acknowledge)) == 1 and life.of_kind(Kill) == []
    assert life.core.tasks_on() == {"S0": 1} and life.core.jobs_alive == 1


def test_slack_that_is_offered_under_the_estimators_role_is_not_placed_on(life):
    """One ACCEPT takes offers of one role; what is unreserved is offered under either."""
    life.submit()
    life.offer(allocation_info={"role": ROLE})
    life.round()
    assert launched(life) == [] and [each.offer_ids for each in life.of_kind(Decline)] == [("O-S0",)]


def test_without_jobs_the_estimators_role_is_still_offered(life):
    job = life.submit()
    life.core.kill(job)
    life.round()
    assert [each.roles for each in life.of_kind(Suppress)] == [("serenity",)]


def test_it_is_the_same_after_a_restart_whether_rolled_out_or_left(life):
    offer_room(life)
    (task,) = launched(life)
    life.update(task, "TASK_RUNNING")
    for plan in (PLAN, Plan()):
        life.config = replace(CONFIG, estimators=plan)
        life.restart()
        begin(life)
        life.reconciled(task, "TASK_RUNNING")
        offer_room(life)
        assert launched(life) == [] and life.of_kind(Kill) == []
        assert [each.task_id for each in life.store.load().estimators] == [task]


def test_a_framework_that_mesos_removed_launches_it_anew_when_the_old_one_has_gone(life):
    offer_room(life)
    (task,) = launched(life)
    life.core.framework_removed()
    life.round()
    assert life.store.load().estimators == ()
    begin(life)
    offer_room(life)
    assert launched(life) == []
    life.clock.advance(15.0)
    offer_room(life)
    (second,) = launched(life)
    assert second != task


def test_a_clock_that_is_set_forward_does_not_end_a_doubt(life):
    """A second one beside the first, with a provider of the same id, aborts the agent."""
    offer_room(life)
    (task,) = launched(life)
    life.update(task, "TASK_RUNNING")
    life.reconciled(task, "TASK_UNKNOWN")
    life.clock.jump(3600.0)
    life.reconciled(task, "TASK_UNKNOWN")
    life.clock.advance(2.0)
    look(life)
    offer_room(life)
    assert launched(life) == []
    life.clock.advance(DOUBT_S)
    life.reconciled(task, "TASK_UNKNOWN")
    life.clock.advance(2.0)
    look(life)
    offer_room(life)
    assert len(launched(life)) == 1


def test_a_clock_that_is_set_back_puts_no_kill_off(life):
    offer_room(life)
    (task,) = launched(life)
    life.config = replace(CONFIG, estimators=replace(PLAN, aim=Aim.REMOVE))
    life.restart()
    begin(life)
    life.reconciled(task, "TASK_RUNNING")
    assert [each.task_id for each in life.of_kind(Kill)] == [task]
    life.clock.jump(-3600.0)
    life.clock.advance(10.0)
    life.round()
    assert [each.task_id for each in life.of_kind(Kill)] == [task]


def test_a_clock_that_is_set_back_makes_no_pause_longer(life):
    offer_room(life)
    (task,) = launched(life)
    life.update(task, "TASK_FAILED", message="Command exited with status 1")
    life.clock.jump(-3600.0)
    life.clock.advance(10.0)
    look(life)
    offer_room(life)
    assert len(launched(life)) == 1


def test_who_leads_no_longer_shows_no_estimators(tmp_path, monkeypatch):
    settings = FrameworkSettings(database=f"sqlite:///{tmp_path / 'f.db'}")
    framework = Framework(settings, {}, ManualClock(), failed=pytest.fail)
    gauge = 'serenity_framework_estimators{state="none"}'
    try:
        rollout = framework._term.core.rollout
        rollout.plan = PLAN
        assert framework.health().leading and gauge not in framework.metrics.prometheus()
        rollout.looked([AgentSeen("S0", "h", True, False, 0.1, 256.0)], 0.0)
        framework.health()
        assert f"{gauge} 1\n" in framework.metrics.prometheus()
        monkeypatch.setattr(framework, "_term", None)  # As when the store is lost.
        assert not framework.health().leading
        assert f"{gauge} 0\n" in framework.metrics.prometheus()
    finally:
        framework.stop()
