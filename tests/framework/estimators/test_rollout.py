"""The roll-out's decisions: one estimator an agent whatever Mesos says when."""

from __future__ import annotations

from serenity.framework.estimators.agent import Deployed
from serenity.framework.estimators.rollout import Aim
from serenity.framework.estimators.task import TaskId
from serenity.framework.estimators.view import counts, estimators
from serenity.framework.mesos.calls import Accept, Decline, Reconcile
from tests.framework.estimators.made_up_cluster import NEW, OLD, ROLE, SETTLE_S, Cluster


def test_one_is_launched_on_what_is_reserved_for_it_and_the_intent_is_stored_with_the_accept():
    cluster = Cluster("S0")
    assert cluster.offer() is None, "nobody knows yet who is there"
    cluster.look()
    task_id = cluster.offer()
    assert cluster.stored["S0"].task_id == task_id and TaskId.parse(task_id).agent_id == "S0"
    ((task,),) = [each.tasks for each in cluster.of_kind(Accept)]
    assert {each["name"]: each["reservations"][0]["role"] for each in task["resources"]} == {"cpus": ROLE, "mem": ROLE}
    assert "--agent http://10.0.0.1:5051 --role serenity" in task["command"]["value"]
    assert cluster.offer() is None


def test_what_is_not_reserved_for_it_is_not_touched_and_the_remedy_told():
    cluster = Cluster("S0")
    cluster.look(reserved=0.05)
    assert cluster.offer(cpus=0.05) is None
    assert [each.refuse_s for each in cluster.of_kind(Decline)] == [3600.0]
    shown = cluster.shown()
    assert (shown.state, shown.why) == ("none", f"less than 0.1 cpus and 256 MiB are reserved to {ROLE} there")
    assert shown.remedy.startswith('curl -d slaveId=S0 -d resources=\'[{"name":"cpus"')


def test_somebody_elses_estimator_is_left_alone_for_as_long_as_it_reports_slack():
    cluster = Cluster("S0")
    cluster.slack.add("S0")
    cluster.look()
    assert cluster.offer() is None and cluster.shown().state == "foreign"
    cluster.slack.clear()
    cluster.after(10.0)
    cluster.look()
    assert cluster.offer() is not None


def test_one_that_finds_the_node_taken_is_tried_again_rarely_and_said_to_be_foreign():
    cluster = Cluster("S0")
    cluster.look()
    first = cluster.offer()
    cluster.update(first, "TASK_FAILED", message="Command exited with status 4")
    assert [each.id for each in cluster.rollout.unexplained] == ["S0"]
    cluster.rollout.explained("S0", TaskId.parse(first), "another estimator runs on this node: process 7 holds it")
    assert (cluster.shown().state, cluster.shown().why) == (
        "foreign",
        "another estimator runs on this node: process 7 holds it; again in 5m00s",
    )
    assert cluster.offer() is None and cluster.of_kind(Decline)[0].refuse_s == 300.0
    cluster.after(301.0)
    cluster.look()
    assert cluster.offer() is not None


def test_one_that_fails_again_and_again_is_started_ever_more_rarely():
    cluster = Cluster("S0")
    pauses = []
    for _ in range(11):
        cluster.look()
        task = cluster.offer()
        cluster.update(task, "TASK_FAILED", message="Command exited with status 1")
        cluster.offer()
        pauses.append(cluster.of_kind(Decline)[0].refuse_s)
        cluster.after(pauses[-1])
    assert pauses[:4] == [10.0, 20.0, 40.0, 80.0] and pauses[-1] == 3600.0
    assert "11 times" in cluster.shown().why and counts(cluster.rollout, *cluster.times_s)["failed"] == 1


def test_only_an_exit_with_4_is_a_refusal_to_run_there():
    cluster = Cluster("S0")
    cluster.look()
    cluster.update(cluster.offer(), "TASK_FAILED", message="Command exited with status 42")
    assert cluster.offer() is None and cluster.of_kind(Decline)[0].refuse_s == 10.0


def test_one_that_is_launched_again_is_launching_since_then():
    cluster = Cluster("S0")
    cluster.look()
    cluster.update(cluster.offer(), "TASK_DROPPED", reason="REASON_INVALID_OFFERS")
    cluster.after(30.0)
    assert cluster.offer() is not None and cluster.shown().since == cluster.clock.now_s()
    cluster.clock.jump(-3600.0)
    assert cluster.shown().since == cluster.clock.now_s(), "people see how long ago it was"


def test_of_thousands_mesos_is_asked_in_parts():
    cluster = Cluster()
    tasks = [TaskId(OLD.version, 1, f"S{number}") for number in range(1001)]
    cluster.stored = {each.agent_id: Deployed(each.agent_id, "host", str(each)) for each in tasks}
    cluster.restart()
    assert [len(each.tasks) for each in cluster.of_kind(Reconcile)] == [1000, 1]


def test_a_launch_that_mesos_refuses_is_nobodys_fault():
    cluster = Cluster("S0")
    cluster.look()
    cluster.update(cluster.offer(), "TASK_DROPPED", reason="REASON_INVALID_OFFERS")
    cluster.after(1.5)
    assert cluster.offer() is not None and cluster.shown().state == "launching"


def test_after_a_restart_what_was_launched_is_asked_for_and_not_launched_again():
    cluster = Cluster("S0")
    task = cluster.run()
    cluster.slack.clear()
    cluster.restart()
    assert Reconcile(((task, "S0"),)) in cluster.calls
    cluster.look()
    assert cluster.offer() is None
    cluster.reconciled(task, "TASK_UNKNOWN")
    assert cluster.offer() is None, "a master that has just begun knows nothing of what runs"
    cluster.after(91.0)
    cluster.reconciled(task, "TASK_UNKNOWN")
    cluster.after(1.5)
    cluster.look()
    assert cluster.offer() not in (None, task)


def test_what_the_store_does_not_know_is_taken_up_and_a_second_one_killed():
    cluster = Cluster("S0")
    one, two = (str(TaskId(OLD.version, number, "S0")) for number in (1, 2))
    cluster.reconciled(one, "TASK_RUNNING")
    assert cluster.stored["S0"].task_id == one and cluster.killed == []
    cluster.reconciled(two, "TASK_RUNNING")
    assert cluster.killed == [two] and cluster.stored["S0"].task_id == one


def test_without_the_roll_out_they_are_left_and_on_request_removed():
    cluster = Cluster("S0")
    task = cluster.run()
    cluster.restart(NEW, Aim.LEAVE)
    cluster.reconciled(task, "TASK_RUNNING")
    cluster.after(SETTLE_S)
    assert cluster.killed == [] and cluster.shown().state == "running"
    cluster.restart(NEW, Aim.REMOVE)
    cluster.reconciled(task, "TASK_RUNNING")
    assert cluster.killed == [task]
    cluster.after(10.0)
    assert cluster.killed == [task], "it is said again until it has ended"
    cluster.update(task, "TASK_KILLED")
    assert cluster.stored == {} and estimators(cluster.rollout, *cluster.times_s) == {}
