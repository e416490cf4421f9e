"""Upgrades of estimators, one by one."""

from __future__ import annotations

from serenity.framework.estimators.task import EstimatorTemplate, TaskId
from tests.framework.estimators.made_up_cluster import NEW, OLD, ROLE, SETTLE_S, Cluster


def test_upgrades_go_one_by_one_and_wait_until_the_slack_is_back():
    cluster = Cluster("S0", "S1")
    first, second = cluster.run("S0"), cluster.run("S1")
    cluster.upgrade(first, second)
    assert cluster.rollout.agents["S0"].state == "killing"
    cluster.slack.discard("S0")
    cluster.update(first, "TASK_KILLED")
    successor = cluster.offer("S0")
    assert TaskId.parse(successor).version == NEW.version != OLD.version
    cluster.update(successor, "TASK_RUNNING")
    for _ in range(4):
        cluster.after(100.0)
        cluster.look()
        assert cluster.killed == [], "its slack is not back"
    assert cluster.rollout.halted == "no other estimator is upgraded before host-S0's does well: its slack is not back"
    cluster.slack.add("S0")
    cluster.look()
    for _ in range(2):
        assert cluster.killed == []
        cluster.after(SETTLE_S - 1)
        cluster.look()
    assert cluster.killed == [second] and cluster.rollout.halted is None


def test_nothing_is_upgraded_that_would_not_find_room_again():
    cluster = Cluster("S0")
    task = cluster.run()
    cluster.restart(EstimatorTemplate("serenity estimator", role=ROLE, cpus=2.0))
    cluster.reconciled(task, "TASK_RUNNING")
    cluster.look(reserved=1.0)
    cluster.after(600.0)
    assert cluster.killed == [] and cluster.shown().why.startswith("is of another version, and cannot be upgraded")
    cluster.look(reserved=2.0)
    assert cluster.killed == [task]


def test_an_upgraded_agent_that_vanishes_is_missed():
    """Two providers of one id abort an agent: what is done to one must not be done to all."""
    cluster = Cluster("S0", "S1")
    tasks = [cluster.run(each) for each in cluster.agents]
    cluster.upgrade(*tasks)
    cluster.update(tasks[0], "TASK_KILLED")
    cluster.agents = ("S1",)
    for _ in range(20):
        cluster.after(60.0)
        cluster.look()
        assert cluster.killed == []
    assert "host-S0's does well: the master knows the agent no longer" in cluster.rollout.halted


def test_a_restart_in_the_middle_of_an_upgrade_does_not_begin_the_next_one():
    cluster = Cluster("S0", "S1")
    first, second = (cluster.run(each) for each in cluster.agents)
    cluster.upgrade(first, second)
    assert cluster.killed == [first]
    cluster.slack.discard("S0")
    cluster.update(first, "TASK_KILLED")
    cluster.restart(NEW)
    cluster.look()
    cluster.reconciled(second, "TASK_RUNNING")
    for _ in range(4):
        cluster.after(5.0)
        assert cluster.killed == [], "the first one's place is not offered yet"
    successor = cluster.offer("S0")
    for _ in range(20):
        cluster.after(10.0)
        cluster.look()
        assert cluster.killed == [], "the first one is not back"
    cluster.update(successor, "TASK_FAILED", message="Command exited with status 1")
    cluster.agents = ("S1",)
    cluster.look()
    cluster.after(600.0)
    cluster.look()
    assert cluster.killed == [], "the first one's agent is gone"
    assert "host-S0's does well: the master knows the agent no longer" in cluster.rollout.halted


def test_a_late_word_that_it_runs_does_not_undo_a_kill():
    cluster = Cluster("S0")
    task = cluster.run()
    cluster.upgrade(task)
    cluster.reconciled(task, "TASK_RUNNING")
    assert cluster.shown().state == "killing"
    cluster.update(task, "TASK_UNREACHABLE")
    cluster.reconciled(task, "TASK_RUNNING")
    cluster.update(task, "TASK_KILLED")
    assert cluster.offer() is not None, "it has not failed"


def test_an_upgrade_that_fails_goes_no_further_and_says_so():
    cluster = Cluster("S0", "S1")
    tasks = [cluster.run(each) for each in cluster.agents]
    cluster.upgrade(*tasks)
    cluster.update(tasks[0], "TASK_KILLED")
    cluster.update(cluster.offer("S0"), "TASK_FAILED", message="Command exited with status 127")
    for _ in range(20):
        cluster.after(600.0)
        assert cluster.killed == []
    assert "before host-S0's does well: Command exited with status 127" in cluster.rollout.halted
    assert cluster.shown("S1").outdated and cluster.shown("S1").state == "running"


def test_nothing_is_launched_or_upgraded_where_an_operator_wants_nothing_new():
    cluster = Cluster("S0", "S1")
    task = cluster.run("S0")
    cluster.closed = {"S0", "S1"}
    cluster.look()
    assert cluster.offer("S1") is None
    cluster.restart(NEW)
    cluster.reconciled(task, "TASK_RUNNING")
    cluster.after(SETTLE_S)
    assert cluster.killed == []
